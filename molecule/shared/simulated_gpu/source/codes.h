/* SPDX-License-Identifier: Apache-2.0
 *
 * What NVML's functions return, and the handles that the simulated one gives out.
 */
#ifndef SIMULATED_CODES_H
#define SIMULATED_CODES_H

#define SUCCESS 0
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define NO_DRIVER 9
#define LOST 15
#define VERSIONS_DIFFER 18
#define UNKNOWN 999

/* Handles from here on are parts of a GPU: its position times MOST_GPUS, plus the part's number. */
#define MIG_HANDLES 4096

#endif
