# SPDX-License-Identifier: Apache-2.0
"""What runs on managed hosts: a package for each layer, which imports only those that its docstring names."""
