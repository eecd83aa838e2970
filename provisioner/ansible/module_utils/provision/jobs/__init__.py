# SPDX-License-Identifier: Apache-2.0
"""Long work as transient units that outlive the connection. Imports host."""
