# SPDX-License-Identifier: Apache-2.0
"""Archives: download, check, unpack, put in place. Imports host and jobs."""
