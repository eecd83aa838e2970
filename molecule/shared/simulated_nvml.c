/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated libnvidia-ml.so.1, for hosts without a GPU. It answers what the state file says, one key=value a line:
 * driver, gpus, name, memory, free, capability, mig (0, 1, or -1 where there is none), init (what nvmlInit returns),
 * lost (index of a GPU that fell off the bus), hang=1 (nvmlInit never returns), crash=1.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_SUPPORTED 3
#define LOST 15
#define SUCCESS 0

struct pci {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char bus_id[32];
};

static const char *setting(const char *key, const char *otherwise)
{
    static char line[256];
    const char *path = getenv("SIMULATED_NVML");
    FILE *file = fopen(path ? path : "/etc/simulated-gpu/nvml", "r");
    size_t length = strlen(key);

    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            fclose(file);
            line[strcspn(line, "\n")] = 0;
            return line + length + 1;
        }
    }
    if (file)
        fclose(file);
    return otherwise;
}

static long number(const char *key, long otherwise)
{
    const char *text = setting(key, NULL);

    return text ? atol(text) : otherwise;
}

/* A handle is the index plus one, so that none is NULL. */
static long index_of(void *handle)
{
    return (long)handle - 1;
}

int nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    if (number("crash", 0))
        raise(SIGSEGV);
    while (number("hang", 0))
        sleep(3600);
    return (int)number("init", SUCCESS);
}

int nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

int nvmlShutdown(void)
{
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case 9:
        return "Driver Not Loaded";
    case LOST:
        return "GPU is lost";
    case 18:
        return "Driver/library version mismatch";
    default:
        return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned int length)
{
    snprintf(text, length, "%s", setting("driver", "580.95.05"));
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = (unsigned int)number("gpus", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle)
{
    if ((long)index == number("lost", -1))
        return LOST;
    *handle = (void *)((long)index + 1);
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned int length)
{
    snprintf(text, length, "GPU-00000000-0000-0000-0000-%012ld", index_of(handle));
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned int length)
{
    (void)handle;
    snprintf(text, length, "%s", setting("name", "NVIDIA H200"));
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory)
{
    (void)handle;
    if (number("memory", 0) < 0)
        return NOT_SUPPORTED;
    memory[0] = (unsigned long long)number("memory", 150754820096);
    memory[1] = (unsigned long long)number("free", 150000000000);
    memory[2] = memory[0] - memory[1];
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor)
{
    (void)handle;
    return sscanf(setting("capability", "9.0"), "%d.%d", major, minor) == 2 ? SUCCESS : 999;
}

int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *pci)
{
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned int)(0x1b + index_of(handle));
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending)
{
    long mode = number("mig", -1);

    (void)handle;
    if (mode < 0)
        return NOT_SUPPORTED;
    *current = *pending = (unsigned int)mode;
    return SUCCESS;
}
