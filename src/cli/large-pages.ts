/** What `bin/holdfast` adds to the settings of the C library, last of them. */
const LARGE_PAGES = 'glibc.malloc.hugetlb=1'

/** Puts the settings back as the operator has them: programs that are started from here get this environment. */
export function forgetLargePages(env: Record<string, string | undefined>): void {
  const settings = env.GLIBC_TUNABLES
  if (settings === LARGE_PAGES) delete env.GLIBC_TUNABLES
  else if (settings?.endsWith(`:${LARGE_PAGES}`)) env.GLIBC_TUNABLES = settings.slice(0, -LARGE_PAGES.length - 1)
}
