# SPDX-License-Identifier: Apache-2.0
"""Python environments and conda. Imports host, jobs and fetch."""
