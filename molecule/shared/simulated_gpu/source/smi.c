/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated nvidia-smi: the table, -L, --query-gpu with --format=csv, -q in short, and -pm as far as tests need
 * them. It says what the real one says when the driver is not loaded, differs, or offers nothing.
 */
#include "state.h"

struct memory {
    unsigned long long total, free, used;
};

struct pci {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char bus_id[32];
};

int nvmlInitWithFlags(unsigned int flags);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle);
int nvmlDeviceGetName(void *handle, char *text, unsigned int length);
int nvmlDeviceGetUUID(void *handle, char *text, unsigned int length);
int nvmlDeviceGetSerial(void *handle, char *text, unsigned int length);
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory);
int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *pci);
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor);
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned int *degrees);
int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts);
int nvmlDeviceGetUtilizationRates(void *handle, unsigned int *rates);
int nvmlDeviceGetEccMode(void *handle, unsigned int *current, unsigned int *pending);
int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int counter, unsigned long long *count);
int nvmlDeviceGetPersistenceMode(void *handle, unsigned int *mode);
int nvmlSystemGetDriverVersion(char *text, unsigned int length);
int nvmlSystemGetCudaDriverVersion_v2(int *version);
const char *nvmlErrorString(int code);

static char driver[80];
static int cuda;

static int refuse(int code)
{
    nvmlSystemGetDriverVersion(driver, sizeof driver);
    if (code == 9)
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
             "NVIDIA driver is installed and running.\n");
    else if (code == 18)
        printf("Failed to initialize NVML: %s\nNVML library version: %.*s\n", nvmlErrorString(code),
               (int)(strrchr(driver, '.') - driver), driver);
    else
        printf("Failed to initialize NVML: %s\n", nvmlErrorString(code));
    return code;
}

static void *device(unsigned int index)
{
    void *handle = NULL;

    if (nvmlDeviceGetHandleByIndex_v2(index, &handle) != 0)
        printf("Unable to determine the device handle for gpu %u: GPU is lost.  Reboot the system to recover this GPU\n",
               index);
    return handle;
}

static const char *numbered(const char *format, unsigned long long value, const char *unit, int units)
{
    static char text[96];
    int length = snprintf(text, sizeof text, format, value);

    if (units)
        snprintf(text + length, sizeof text - (size_t)length, "%s", unit);
    return text;
}

static const char *flag(int on)
{
    return on ? "Enabled" : "Disabled";
}

static const char *about_memory(void *handle, const char *field, int units)
{
    struct memory memory = {0, 0, 0};
    unsigned long long bytes;

    if (nvmlDeviceGetMemoryInfo(handle, &memory) != 0)
        return "[N/A]";
    bytes = strcmp(field, "memory.total") == 0 ? memory.total : strcmp(field, "memory.free") == 0 ? memory.free : memory.used;
    return numbered("%llu", bytes >> 20, " MiB", units);
}

static const char *about_health(void *handle, const char *field, int units)
{
    unsigned int one = 0, two = 0, rates[2] = {0, 0};
    unsigned long long errors = 0;

    if (strcmp(field, "temperature.gpu") == 0)
        return nvmlDeviceGetTemperature(handle, 0, &one), numbered("%llu", one, "", 0);
    if (strcmp(field, "power.draw") == 0)
        return nvmlDeviceGetPowerUsage(handle, &one), numbered("%llu.00", one / 1000ULL, " W", units);
    if (strcmp(field, "utilization.gpu") == 0)
        return nvmlDeviceGetUtilizationRates(handle, rates), numbered("%llu", rates[0], " %", units);
    if (strcmp(field, "persistence_mode") == 0)
        return nvmlDeviceGetPersistenceMode(handle, &one), flag((int)one);
    if (strcmp(field, "ecc.mode.current") == 0)
        return nvmlDeviceGetEccMode(handle, &one, &two) ? "[N/A]" : flag((int)one);
    if (strncmp(field, "ecc.errors.", 11) == 0)
        return nvmlDeviceGetTotalEccErrors(handle, strstr(field, "uncorrected") != NULL, 0, &errors),
               numbered("%llu", errors, "", 0);
    return NULL;
}

static const char *about(void *handle, unsigned int index, const char *field, int units)
{
    static char text[96];
    struct pci pci;
    int major = 0, minor = 0;

    if (strcmp(field, "index") == 0)
        return numbered("%llu", index, "", 0);
    if (strcmp(field, "name") == 0 || strcmp(field, "gpu_name") == 0)
        return nvmlDeviceGetName(handle, text, sizeof text), text;
    if (strcmp(field, "uuid") == 0 || strcmp(field, "gpu_uuid") == 0)
        return nvmlDeviceGetUUID(handle, text, sizeof text), text;
    if (strcmp(field, "serial") == 0)
        return nvmlDeviceGetSerial(handle, text, sizeof text), text;
    if (strcmp(field, "driver_version") == 0)
        return driver;
    if (strcmp(field, "count") == 0) {
        unsigned int count = 0;

        return nvmlDeviceGetCount_v2(&count), numbered("%llu", count, "", 0);
    }
    if (strcmp(field, "compute_cap") == 0) {
        nvmlDeviceGetCudaComputeCapability(handle, &major, &minor);
        snprintf(text, sizeof text, "%d.%d", major, minor);
        return text;
    }
    if (strcmp(field, "pci.bus_id") == 0 || strcmp(field, "gpu_bus_id") == 0) {
        nvmlDeviceGetPciInfo_v3(handle, &pci);
        snprintf(text, sizeof text, "%s", pci.bus_id);
        return text;
    }
    if (strncmp(field, "memory.", 7) == 0)
        return about_memory(handle, field, units);
    return about_health(handle, field, units);
}

static int query(char *fields, const char *format, unsigned int count)
{
    int units = !strstr(format, "nounits"), header = !strstr(format, "noheader");
    char *names[64];
    int many = 0;

    for (char *name = strtok(fields, ","); name && many < 64; name = strtok(NULL, ","))
        names[many++] = name + strspn(name, " ");
    for (int i = 0; header && i < many; i++)
        printf("%s%s", i ? ", " : "", names[i]);
    if (header)
        puts("");
    for (unsigned int index = 0; index < count; index++) {
        void *handle = device(index);

        for (int i = 0; handle && i < many; i++) {
            const char *value = about(handle, index, names[i], units);

            if (!value) {
                printf("Field \"%s\" is not a valid field to query.\n", names[i]);
                return 2;
            }
            printf("%s%s", i ? ", " : "", value);
        }
        if (handle)
            puts("");
    }
    return 0;
}

static void table(unsigned int count)
{
    printf("+-----------------------------------------------------------------------------------------+\n"
           "| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %d.%-6d |\n"
           "| simulated driver: this host has no GPU                                                  |\n"
           "|-----------------------------------------+------------------------+----------------------|\n",
           driver, driver, cuda / 1000, cuda % 1000 / 10);
    for (unsigned int index = 0; index < count; index++) {
        void *handle = device(index);
        char bus[32];

        if (!handle)
            continue;
        snprintf(bus, sizeof bus, "%s", about(handle, index, "pci.bus_id", 0));
        printf("| %3u  %-34.34s | %-22s |", index, about(handle, index, "name", 0), bus);
        printf(" %16s MiB |\n", about(handle, index, "memory.total", 0));
    }
    puts("+-----------------------------------------------------------------------------------------+");
}

static void list(unsigned int count)
{
    char name[96];

    for (unsigned int index = 0; index < count; index++) {
        void *handle = device(index);

        if (!handle)
            continue;
        snprintf(name, sizeof name, "%s", about(handle, index, "name", 0));
        printf("GPU %u: %s (UUID: %s)\n", index, name, about(handle, index, "uuid", 0));
    }
}

static void details(unsigned int count)
{
    int fabric = number("nvswitches", 0) > 0;
    int runs = access("/run/nvidia-fabricmanager/nv-fabricmanager.pid", F_OK) == 0;

    printf("\n==============NVSMI LOG==============\n\n");
    printf("Simulated driver                          : Yes\nDriver Version                            : %s\n", driver);
    printf("CUDA Version                              : %d.%d\n\nAttached GPUs                             : %u\n",
           cuda / 1000, cuda % 1000 / 10, count);
    for (unsigned int index = 0; index < count; index++) {
        void *handle = device(index);

        if (!handle)
            continue;
        printf("GPU %s\n", about(handle, index, "pci.bus_id", 0));
        printf("    Product Name                          : %s\n", about(handle, index, "name", 0));
        printf("    Persistence Mode                      : %s\n", about(handle, index, "persistence_mode", 0));
        printf("    Fabric\n        State                             : %s\n        Status                            : %s\n",
               !fabric ? "N/A" : runs ? "Completed" : "In Progress", !fabric ? "N/A" : runs ? "Success" : "N/A");
    }
}

int main(int argc, char **argv)
{
    char *fields = NULL;
    const char *format = "", *verb = "";
    unsigned int count = 0;
    int code;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--query-gpu=", 12) == 0)
            fields = argv[i] + 12;
        else if (strncmp(argv[i], "--format=", 9) == 0)
            format = argv[i] + 9;
        else if (!*verb)
            verb = argv[i];
    }
    code = nvmlInitWithFlags(0);
    if (code != 0)
        return refuse(code);
    nvmlSystemGetDriverVersion(driver, sizeof driver);
    nvmlSystemGetCudaDriverVersion_v2(&cuda);
    nvmlDeviceGetCount_v2(&count);
    if (count == 0) {
        puts("No devices were found");
        return 6;
    }
    if (fields)
        return query(fields, format, count);
    if (strcmp(verb, "-L") == 0 || strcmp(verb, "--list-gpus") == 0)
        list(count);
    else if (strcmp(verb, "-q") == 0 || strcmp(verb, "--query") == 0)
        details(count);
    else if (strcmp(verb, "-pm") == 0 || strcmp(verb, "-e") == 0)
        puts("All done.");
    else
        table(count);
    return 0;
}
