/* Stands in for NVIDIA's libnvidia-ml.so.1: answers as the machine that NVML_STAND_IN names. The
   calls and structures are those of https://docs.nvidia.com/deploy/nvml-api/ */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef const char *device; /* "gpu", "lost", "slice0", "slice1" */

enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7,
       NO_DRIVER = 9, LOST = 15, MISMATCH = 18 };
enum { KIB = 1 << 10, MIB = 1 << 20 };

static int is(const char *name) {
    const char *wanted = getenv("NVML_STAND_IN");
    return wanted && !strcmp(wanted, name);
}

static int given(u32 *where, u32 value) {
    *where = value;
    return OK;
}

static int said(char *where, u32 size, const char *text) {
    snprintf(where, size, "%s", text);
    return OK;
}

int nvmlInitWithFlags(u32 flags) {
    if (is("mismatch")) return MISMATCH;
    if (is("no driver")) return NO_DRIVER;
    while (is("hangs")) pause();
    if (is("crashes")) abort();
    return OK;
}

const char *nvmlErrorString(int code) { return "as the stand-in says"; }
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *text, u32 size) { return said(text, size, "550.90.07"); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return given((u32 *)version, 12040); }
int nvmlDeviceGetCount_v2(u32 *count) { return given(count, is("no device") ? 0 : is("lost") ? 2 : 1); }

int nvmlDeviceGetHandleByIndex_v2(u32 index, device *found) {
    if (index == 1 && is("lost")) return LOST;
    *found = "gpu";
    return OK;
}

int nvmlDeviceGetName(device gpu, char *text, u32 size) {
    return said(text, size, is("A100 in MIG mode") ? "NVIDIA A100-SXM4-40GB" : "NVIDIA H100 80GB HBM3");
}

int nvmlDeviceGetUUID(device gpu, char *text, u32 size) {
    return said(text, size, "GPU-11111111-2222-3333-4444-555555555555");
}

struct pci { char legacy[16]; u32 domain, bus, device, id, subsystem; char place[32]; };

int nvmlDeviceGetPciInfo_v3(device gpu, struct pci *pci) {
    memset(pci, 0, sizeof *pci);
    return said(pci->place, sizeof pci->place, "00000000:0F:00.0");
}

struct memory { u64 total, free, used; };

int nvmlDeviceGetMemoryInfo(device gpu, struct memory *memory) {
    u64 total = !strncmp(gpu, "slice", 5) ? 4864ull : is("A100 in MIG mode") ? 40960ull : 81559ull;
    *memory = (struct memory){total * MIB, (total - 565) * MIB, 565ull * MIB};
    return OK;
}

int nvmlDeviceGetTemperature(device gpu, u32 sensor, u32 *degrees) {
    return is("newer driver") ? NOT_SUPPORTED : given(degrees, 34);
}

struct temperature { u32 version, sensor; int degrees; };

int nvmlDeviceGetTemperatureV(device gpu, struct temperature *temperature) {
    temperature->degrees = 36;
    return OK;
}

int nvmlDeviceGetPowerUsage(device gpu, u32 *milliwatts) { return given(milliwatts, 71200); }
int nvmlDeviceGetEnforcedPowerLimit(device gpu, u32 *milliwatts) { return given(milliwatts, 700000); }
int nvmlDeviceGetPersistenceMode(device gpu, u32 *mode) { return given(mode, 1); }

int nvmlDeviceGetEccMode(device gpu, u32 *now, u32 *pending) {
    if (is("no ECC")) return NOT_SUPPORTED;
    *pending = 1;
    return given(now, 1);
}

int nvmlDeviceGetTotalEccErrors(device gpu, u32 kind, u32 since, u64 *count) {
    if (is("no ECC")) return NOT_SUPPORTED;
    *count = is("sick memory") && kind == 1 && since == 0 ? 2 : 0;
    return OK;
}

int nvmlDeviceGetRemappedRows(device gpu, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    if (is("no ECC")) return NOT_SUPPORTED;
    *corrected = *uncorrected = *failed = 0;
    return given(pending, is("rows wait"));
}

int nvmlDeviceGetRetiredPagesPendingStatus(device gpu, u32 *pending) { return NOT_SUPPORTED; }

int nvmlDeviceGetMigMode(device gpu, u32 *now, u32 *pending) {
    if (is("no ECC")) return NOT_SUPPORTED;
    *pending = 0;
    return given(now, is("A100 in MIG mode"));
}

int nvmlDeviceGetMaxMigDeviceCount(device gpu, u32 *count) {
    return given(count, is("A100 in MIG mode") ? 7 : 0);
}

int nvmlDeviceGetMigDeviceHandleByIndex(device gpu, u32 index, device *found) {
    static const device slices[] = {"slice0", "slice1"};
    if (index >= 2) return NOT_FOUND;
    *found = slices[index];
    return OK;
}

int nvmlDeviceGetGpuInstanceId(device slice, u32 *id) { return given(id, slice[5] == '0' ? 7 : 8); }
int nvmlDeviceGetComputeInstanceId(device slice, u32 *id) { return given(id, 0); }

struct process { u32 pid; u64 memory; u32 gpu_instance, compute_instance; };

static int processes(u32 *count, struct process *list) {
    if (is("A100 in MIG mode")) return NO_PERMISSION; /* to who is not root */
    if (!list || *count < 2) {
        *count = 2;
        return TOO_SMALL;
    }
    list[0] = (struct process){4711, 1024ull * MIB, ~0u, ~0u};
    list[1] = (struct process){4712, ~0ull, ~0u, ~0u}; /* memory that is not told */
    return given(count, 2);
}

int nvmlDeviceGetComputeRunningProcesses_v3(device gpu, u32 *count, struct process *list) {
    return is("idle") ? given(count, 0) : is("older driver") ? NOT_SUPPORTED : processes(count, list);
}

int nvmlDeviceGetComputeRunningProcesses_v2(device gpu, u32 *count, struct process *list) {
    return processes(count, list);
}
