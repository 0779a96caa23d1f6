import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { command, type DoctorCheck, type DoctorContext } from './doctor-check.ts'

/** Off-site copies in S3: there are credentials somewhere in the chain that AWS programs look through. Nothing is sent. */
export const offSiteCredentials: DoctorCheck<'off-site'> = {
  name: 'off-site',
  title: 'Credentials for off-site copies can be found',
  async run(context) {
    const targets = [context.config.repository, ...context.config.offSite.map(({ to }) => to)]
    const inS3 = targets.filter((to) => to.startsWith('s3:'))
    if (inS3.length === 0 || (await hasCredentials(context))) return []
    return inS3.map((to) => ({
      severity: 'error',
      code: 'credentials-missing',
      message: `Unable to locate credentials for ${to}: neither in the environment nor in ~/.aws, and no role is set`,
      hint: 'On EC2 a role of the instance will do; that there is one cannot be seen without asking for it',
      remedy: command('aws configure'),
    }))
  },
}

async function hasCredentials({ env, home }: DoctorContext): Promise<boolean> {
  if (env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY) return true
  if (
    env.AWS_WEB_IDENTITY_TOKEN_FILE ||
    env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI ||
    env.AWS_CONTAINER_CREDENTIALS_FULL_URI
  )
    return true
  const profile = env.AWS_PROFILE || 'default'
  const credentials = await section(env.AWS_SHARED_CREDENTIALS_FILE ?? join(home, '.aws/credentials'), profile)
  if (/^\s*(aws_access_key_id|credential_process)\s*=/m.test(credentials)) return true
  const named = profile === 'default' ? profile : `profile ${profile}`
  const config = await section(env.AWS_CONFIG_FILE ?? join(home, '.aws/config'), named)
  return /^\s*(aws_access_key_id|credential_process|role_arn|sso_session|sso_start_url)\s*=/m.test(config)
}

/** The lines of one `[section]` of an INI file; empty where there is no such file. */
async function section(path: string, name: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const lines = text.split('\n')
  const begin = lines.findIndex((line) => line.trim() === `[${name}]`)
  if (begin < 0) return ''
  const rest = lines.slice(begin + 1)
  const end = rest.findIndex((line) => line.trimStart().startsWith('['))
  return rest.slice(0, end < 0 ? undefined : end).join('\n')
}
