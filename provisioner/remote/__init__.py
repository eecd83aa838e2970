# SPDX-License-Identifier: Apache-2.0
"""The day-two commands' way to the hosts. Imports fleet and runs."""
