/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * What the stand-ins for nvidia-uvm, nvidia-modeset and nvidia-drm are made of: each needs the one below it.
 */
#include <linux/module.h>

int NEEDS(void);
int HAS(void);
int HAS(void)
{
	return NEEDS();
}
EXPORT_SYMBOL(HAS);

MODULE_DESCRIPTION("stand-in for NVIDIA's driver, for tests");
MODULE_VERSION(SIMULATED_VERSION);
MODULE_LICENSE(SIMULATED_LICENSE);
