# SPDX-License-Identifier: Apache-2.0
"""What makes and keeps Ollama's models on a host. Imports host, jobs, models and engine of provision."""
