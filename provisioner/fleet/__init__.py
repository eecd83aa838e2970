# SPDX-License-Identifier: Apache-2.0
"""What an inventory requests, as frozen values. Imports the ground modules of provisioner alone."""
