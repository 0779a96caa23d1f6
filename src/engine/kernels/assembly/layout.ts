/** Where the tables of all kernels end; memory from here on is the caller's. */
export const tablesEnd: usize = __heap_base
