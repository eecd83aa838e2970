# SPDX-License-Identifier: Apache-2.0
"""Services of inference engines: unit, files, API, verification. Imports host, jobs and gpu."""
