# SPDX-License-Identifier: Apache-2.0
"""Container engines and NVIDIA's container toolkit. Imports host, jobs, gpu and driver."""
