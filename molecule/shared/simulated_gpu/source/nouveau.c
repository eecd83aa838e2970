/* SPDX-License-Identifier: GPL-2.0
 *
 * A stand-in for nouveau.ko: it compiles, and nothing ever loads it.
 */
#include <linux/module.h>

MODULE_ALIAS("pci:v000010DEd*sv*sd*bc03sc*i*");
MODULE_DESCRIPTION("stand-in for nouveau, for tests");
MODULE_LICENSE("GPL and additional rights");
