# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA driver: decide, install, prove, hold, remove. Imports host, jobs, fetch and gpu."""
