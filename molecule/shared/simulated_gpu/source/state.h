/* SPDX-License-Identifier: Apache-2.0
 *
 * What the simulated libraries share: the state file, one key=value a line, and the GPUs that it describes.
 */
#ifndef SIMULATED_STATE_H
#define SIMULATED_STATE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_GPUS 32
#define FIRST_BUS 0x1b

struct model {
    unsigned int device;
    const char *name, *capability;
    unsigned long long memory;
};

/* The first is the default. */
static const struct model MODELS[] = {
    {0x2330, "NVIDIA H100 80GB HBM3", "9.0", 85520809984ULL},
    {0x2335, "NVIDIA H200", "9.0", 150754820096ULL},
    {0x20b2, "NVIDIA A100-SXM4-80GB", "8.0", 85899345920ULL},
    {0x26b9, "NVIDIA L40S", "8.9", 48305799168ULL},
    {0x1eb8, "Tesla T4", "7.5", 16106127360ULL},
    {0x1db6, "Tesla V100-PCIE-32GB", "7.0", 34359738368ULL},
    {0x2901, "NVIDIA B200", "10.0", 191503138816ULL},
    {0x3182, "NVIDIA B300 SXM6 AC", "10.3", 309237645312ULL},
};

static inline const char *setting(const char *key, const char *otherwise)
{
    static char line[256];
    const char *path = getenv("SIMULATED_NVML");
    FILE *file = fopen(path ? path : "/etc/simulated-gpu/state", "r");
    size_t length = strlen(key);

    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            fclose(file);
            line[strcspn(line, "\n")] = 0;
            return line[length + 1] ? line + length + 1 : otherwise;
        }
    }
    if (file)
        fclose(file);
    return otherwise;
}

static inline long long number(const char *key, long long otherwise)
{
    const char *text = setting(key, NULL);

    return text ? strtoll(text, NULL, 0) : otherwise;
}

static inline const struct model *model_of(unsigned int device)
{
    for (size_t i = 0; i < sizeof MODELS / sizeof *MODELS; i++)
        if (MODELS[i].device == device)
            return &MODELS[i];
    return &MODELS[0];
}

/* Put the device id of each GPU on the bus into `found` and return how many there are. */
static inline int gpus_on_bus(unsigned int *found)
{
    const char *ids = setting("device_ids", NULL);
    int count = 0;

    if (!ids) {
        unsigned int id = (unsigned int)number("device_id", MODELS[0].device);

        for (count = (int)number("gpus", 1); count > MOST_GPUS; count--)
            ;
        for (int i = 0; i < count; i++)
            found[i] = id;
        return count;
    }
    for (char *end; *ids && count < MOST_GPUS; ids = *end ? end + 1 : end)
        found[count++] = (unsigned int)strtoul(ids, &end, 0);
    return count;
}

/* Hopper may have either flavour; what is older than Turing has no open one, Blackwell no other. */
static inline int flavour_fits(unsigned int device, int is_open, int branch)
{
    if (device < 0x1e00)
        return !is_open && branch <= 580;
    return is_open || (device < 0x2900 && device != 0x2342);
}

#endif
