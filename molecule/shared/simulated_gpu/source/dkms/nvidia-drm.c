/* SPDX-License-Identifier: Dual MIT/GPL */
#include "part.c"
