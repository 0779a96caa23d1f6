const SECRET_NAME =
  /(^|_)(TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PASS|CREDENTIALS?|(API|PRIVATE|ACCESS|SECRET|ENCRYPTION|SIGNING|AUTH)_?KEY)(_|$)/i
/** `..._FILE=/run/secrets/x` and the like name where a secret lies; they are none. */
const NAMES_A_PLACE = /_(FILE|PATH|DIR|DIRECTORY)$/i
const URL_WITH_PASSWORD = /:\/\/[^\s/:@]*:[^\s/@]+@/

/** Whether an environment variable looks like it carries a secret: by its name, or a URL with a password in it. */
export function isSecretVariable(name: string, value: string): boolean {
  if (value === '') return false
  return (SECRET_NAME.test(name) && !NAMES_A_PLACE.test(name)) || URL_WITH_PASSWORD.test(value)
}
