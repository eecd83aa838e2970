/* SPDX-License-Identifier: GPL-2.0
 *
 * A stand-in for xt_addrtype.ko: it compiles, and nothing ever loads it.
 */
#include <linux/module.h>

MODULE_DESCRIPTION("stand-in for xt_addrtype, for tests");
MODULE_LICENSE("GPL");
