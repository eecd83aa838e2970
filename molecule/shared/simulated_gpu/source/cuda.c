/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated libcuda.so.1: it tells the CUDA version of the driver and how many GPUs there are, and computes nothing.
 */
#include "state.h"

#define NOT_INITIALISED 3
#define NO_DEVICE 100
#define SYSTEM_NOT_READY 802
#define VERSIONS_DIFFER 803

int nvmlInitWithFlags(unsigned int flags);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlSystemGetCudaDriverVersion_v2(int *version);

static int devices = -1;

int cuInit(unsigned int flags)
{
    unsigned int count = 0;
    int code = nvmlInitWithFlags(flags);

    if (code != 0)
        return code == 18 ? VERSIONS_DIFFER : NO_DEVICE;
    nvmlDeviceGetCount_v2(&count);
    devices = (int)count;
    /* GPUs that sit on an NVSwitch compute only while its fabric manager runs. */
    if (number("nvswitches", 0) > 0 && access("/run/nvidia-fabricmanager/nv-fabricmanager.pid", F_OK) != 0)
        return SYSTEM_NOT_READY;
    return devices > 0 ? 0 : NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

int cuDeviceGetCount(int *count)
{
    if (devices < 0)
        return NOT_INITIALISED;
    *count = devices;
    return 0;
}

int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal < devices ? 0 : 101;
}
