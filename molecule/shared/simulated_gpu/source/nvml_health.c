/* SPDX-License-Identifier: Apache-2.0
 *
 * What changes while a GPU works, from the state file: mig (0, 1, or -1 where there is none), mig_devices, busy,
 * celsius, power and power_limit in milliwatts, ecc (errors that were not corrected, -1 where there is no ECC),
 * persistence, process=<pid>:<bytes>.
 */
#include "codes.h"
#include "state.h"

struct utilisation {
    unsigned int gpu, memory;
};

struct process {
    unsigned int pid;
    unsigned long long used;
    unsigned int instance, compute;
};

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending)
{
    long long mode = number("mig", -1);

    (void)handle;
    if (mode < 0)
        return NOT_SUPPORTED;
    *current = *pending = (unsigned int)mode;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *count)
{
    (void)handle;
    *count = (unsigned int)number("mig_devices", 0);
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned int index, void **part)
{
    if (number("mig", -1) != 1 || index >= number("mig_devices", 0))
        return NOT_FOUND;
    *part = (void *)(MIG_HANDLES + ((long)handle - 1) * MOST_GPUS + (long)index);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, struct utilisation *rates)
{
    (void)handle;
    rates->gpu = rates->memory = (unsigned int)number("busy", 0);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned int *celsius)
{
    (void)handle;
    (void)sensor;
    *celsius = (unsigned int)number("celsius", 34);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts)
{
    (void)handle;
    *milliwatts = (unsigned int)number("power", 70000);
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned int *milliwatts)
{
    (void)handle;
    *milliwatts = (unsigned int)number("power_limit", 700000);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned int *milliwatts)
{
    return nvmlDeviceGetPowerManagementLimit(handle, milliwatts);
}

int nvmlDeviceGetEccMode(void *handle, unsigned int *current, unsigned int *pending)
{
    (void)handle;
    if (number("ecc", 0) < 0)
        return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}

/* `kind` is 0 for errors that were corrected and 1 for the others. */
int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int counter, unsigned long long *count)
{
    long long errors = number("ecc", 0);

    (void)handle;
    (void)counter;
    if (errors < 0)
        return NOT_SUPPORTED;
    *count = kind == 1 ? (unsigned long long)errors : 0;
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(void *handle, unsigned int *mode)
{
    int otherwise = 1;

    (void)handle;
#ifdef DRIVER_VERSION
    otherwise = access("/run/nvidia-persistenced/nvidia-persistenced.pid", F_OK) == 0;
#endif
    *mode = (unsigned int)number("persistence", otherwise);
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, struct process *processes)
{
    unsigned int room = *count, pid = 0;
    unsigned long long used = 0;

    (void)handle;
    *count = sscanf(setting("process", ""), "%u:%llu", &pid, &used) == 2;
    if (*count > room)
        return INSUFFICIENT_SIZE;
    if (*count)
        *processes = (struct process){pid, used, ~0U, ~0U};
    return SUCCESS;
}
