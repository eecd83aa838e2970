# SPDX-License-Identifier: Apache-2.0
"""Model files from hubs and folders. Imports host and jobs."""
