# SPDX-License-Identifier: Apache-2.0
"""The host itself: commands, files, facts, settings, packages and repositories. Imports no other package."""
