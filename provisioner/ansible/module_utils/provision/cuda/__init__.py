# SPDX-License-Identifier: Apache-2.0
"""CUDA toolkits. Imports host, jobs, fetch, gpu and driver."""
