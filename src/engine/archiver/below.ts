const SLASH = 0x2f

/** The path of an entry of a folder. */
export function below(folder: Buffer, name: Buffer): Buffer {
  const path = Buffer.allocUnsafe(folder.length + 1 + name.length)
  path.set(folder)
  path[folder.length] = SLASH
  path.set(name, folder.length + 1)
  return path
}
