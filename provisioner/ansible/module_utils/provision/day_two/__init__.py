# SPDX-License-Identifier: Apache-2.0
"""What the day-two commands run on a host. Imports host, gpu and engine."""
