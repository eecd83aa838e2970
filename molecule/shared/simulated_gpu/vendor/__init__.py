# SPDX-License-Identifier: Apache-2.0
"""Build the simulated repositories of NVIDIA, Ubuntu and Rocky."""
