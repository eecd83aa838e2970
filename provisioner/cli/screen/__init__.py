# SPDX-License-Identifier: Apache-2.0
"""What a run looks like: live on a terminal, line by line elsewhere."""
