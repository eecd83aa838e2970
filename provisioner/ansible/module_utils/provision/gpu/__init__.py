# SPDX-License-Identifier: Apache-2.0
"""What a host has of NVIDIA, without ever changing it. Imports host."""
