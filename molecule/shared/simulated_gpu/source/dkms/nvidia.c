/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * A stand-in for nvidia.ko: it compiles and carries a version, and nothing ever loads it.
 */
#include <linux/module.h>

#ifdef SIMULATED_FAULT
#error "simulated fault: this kernel has no drm_format_info (dkms=fail in /etc/simulated-gpu/state)"
#endif

int nv_simulated(void);
int nv_simulated(void)
{
	return 0;
}
EXPORT_SYMBOL(nv_simulated);

MODULE_ALIAS("pci:v000010DEd*sv*sd*bc03sc02i00*");
MODULE_ALIAS("pci:v000010DEd*sv*sd*bc03sc00i00*");
MODULE_DESCRIPTION("stand-in for NVIDIA's driver, for tests");
MODULE_VERSION(SIMULATED_VERSION);
MODULE_LICENSE(SIMULATED_LICENSE);
