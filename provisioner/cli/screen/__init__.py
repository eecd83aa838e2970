# SPDX-License-Identifier: Apache-2.0
"""Show a run: live on a terminal, line by line elsewhere."""
