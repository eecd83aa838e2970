/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated libnvidia-ml.so.1, for hosts without a GPU. It answers what the state file says, one key=value a line:
 * gpus or device_ids, name, memory, free, capability, missing (GPUs that the driver does not offer), lost (index of a GPU that fell off the bus), hang=1 (nvmlInit never returns), crash=1,
 * init (what nvmlInit returns). Built with DRIVER_VERSION, as in the packages of the simulated driver, it also
 * wants that very version of the kernel module to be loaded; without, `driver` in the state is its version. `cuda` is the
 * newest CUDA that it speaks; nvml_health.c has what changes while a GPU works.
 */
#include <signal.h>

#include "codes.h"
#include "state.h"

#define LOADED "/proc/driver/nvidia/version"
#define CONTROL "/dev/nvidiactl"

struct pci {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char bus_id[32];
};

static int control = -1;
/* What the driver offers, as positions on the bus. */
static int offered[MOST_GPUS], offered_count;
static unsigned int on_bus[MOST_GPUS];

static const char *driver_version(void)
{
#ifdef DRIVER_VERSION
    return DRIVER_VERSION;
#else
    return setting("driver", "580.95.05");
#endif
}

/* Compare what is loaded with this library; `is_open` is told from the kernel's own words. */
static int check_loaded(int *is_open)
{
#ifdef DRIVER_VERSION
    char line[256] = "", wanted[64];
    FILE *file = fopen(LOADED, "r");

    if (!file || !fgets(line, sizeof line, file))
        line[0] = 0;
    if (file)
        fclose(file);
    if (!line[0])
        return NO_DRIVER;
    *is_open = strstr(line, "Open Kernel Module") != NULL;
    snprintf(wanted, sizeof wanted, "  %s  ", DRIVER_VERSION);
    return strstr(line, wanted) ? SUCCESS : VERSIONS_DIFFER;
#else
    *is_open = -1;
    return SUCCESS;
#endif
}

static void look_at_gpus(int is_open)
{
    int count = gpus_on_bus(on_bus), branch = atoi(driver_version());
    long missing = (long)number("missing", 0);

    offered_count = 0;
    for (int i = 0; i < count; i++)
        if (is_open < 0 || flavour_fits(on_bus[i], is_open, branch))
            offered[offered_count++] = i;
    offered_count = offered_count > missing ? offered_count - (int)missing : 0;
}

/* A handle is the position on the bus plus one, so that none is NULL. */
static int position(void *handle)
{
    return (int)(long)handle - 1;
}

int nvmlInitWithFlags(unsigned int flags)
{
    int is_open = -1, code;

    (void)flags;
    if (number("crash", 0))
        raise(SIGSEGV);
    while (number("hang", 0))
        sleep(1);
    code = (int)number("init", SUCCESS);
    if (code == SUCCESS)
        code = check_loaded(&is_open);
    if (code != SUCCESS)
        return code;
    look_at_gpus(is_open);
    /* Whoever uses the library holds the device, so that the module cannot be unloaded under it. */
    if (control < 0)
        control = open(CONTROL, O_RDWR | O_CLOEXEC);
    return SUCCESS;
}

int nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

int nvmlInit(void)
{
    return nvmlInitWithFlags(0);
}

int nvmlShutdown(void)
{
    if (control >= 0)
        close(control);
    control = -1;
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case SUCCESS:
        return "Success";
    case INVALID_ARGUMENT:
        return "Invalid Argument";
    case NOT_SUPPORTED:
        return "Not Supported";
    case NO_DRIVER:
        return "Driver Not Loaded";
    case LOST:
        return "GPU is lost";
    case VERSIONS_DIFFER:
        return "Driver/library version mismatch";
    default:
        return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned int length)
{
    snprintf(text, length, "%s", driver_version());
    return SUCCESS;
}

int nvmlSystemGetNVMLVersion(char *text, unsigned int length)
{
    /* NVIDIA's own answer: 13 for the CUDA that it speaks, then the driver without what follows its second part. */
    snprintf(text, length, "13.%s", driver_version());
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    int branch = atoi(driver_version()), major, minor;

    if (sscanf(setting("cuda", ""), "%d.%d", &major, &minor) == 2)
        *version = major * 1000 + minor * 10;
    else
        *version = branch >= 610 ? 13030 : branch >= 595 ? 13020 : branch >= 590 ? 13010 : branch >= 580 ? 13000 : 12080;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version)
{
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = (unsigned int)offered_count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle)
{
    if (index >= (unsigned int)offered_count)
        return INVALID_ARGUMENT;
    if ((long long)index == number("lost", -1))
        return LOST;
    *handle = (void *)((long)offered[index] + 1);
    return SUCCESS;
}

int nvmlDeviceGetIndex(void *handle, unsigned int *index)
{
    for (*index = 0; *index < (unsigned int)offered_count; ++*index)
        if (offered[*index] == position(handle))
            return SUCCESS;
    return INVALID_ARGUMENT;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned int length)
{
    if ((long)handle >= MIG_HANDLES) {
        long slice = (long)handle - MIG_HANDLES;

        snprintf(text, length, "MIG-00000000-0000-0000-%04ld-%012ld", slice / MOST_GPUS, slice % MOST_GPUS);
        return SUCCESS;
    }
    snprintf(text, length, "GPU-00000000-0000-0000-0000-%012d", position(handle));
    return SUCCESS;
}

int nvmlDeviceGetSerial(void *handle, char *text, unsigned int length)
{
    snprintf(text, length, "1650%09d", position(handle));
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(void *handle, unsigned int *minor)
{
    *minor = (unsigned int)position(handle);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned int length)
{
    snprintf(text, length, "%s", setting("name", model_of(on_bus[position(handle)])->name));
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory)
{
    long long total = (long long)model_of(on_bus[position(handle)])->memory;

    total = number("memory", total);
    if (total < 0)
        return NOT_SUPPORTED;
    memory[0] = (unsigned long long)total;
    memory[1] = (unsigned long long)number("free", total - total / 160);
    memory[2] = memory[0] - memory[1];
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor)
{
    const char *text = setting("capability", model_of(on_bus[position(handle)])->capability);

    return sscanf(text, "%d.%d", major, minor) == 2 ? SUCCESS : UNKNOWN;
}

int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *pci)
{
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned int)(FIRST_BUS + position(handle));
    pci->id = on_bus[position(handle)] << 16 | 0x10de;
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}
