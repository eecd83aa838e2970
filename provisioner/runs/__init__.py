# SPDX-License-Identifier: Apache-2.0
"""One run of Ansible: plan, process, events, report. Imports fleet."""
