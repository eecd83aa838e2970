# SPDX-License-Identifier: Apache-2.0
"""The `provision` command: the only package that prints or exits."""
