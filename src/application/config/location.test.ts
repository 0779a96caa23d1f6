import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { parseLocation } from './location.ts'

suite('locations', () => {
  const right: [string, string][] = [
    ['/var/backups/app', 'local'],
    ['backups', 'local'],
    ['s3:https://s3.eu-central-1.amazonaws.com/your-company-backups/devrel', 's3'],
    ['s3:s3.amazonaws.com/bucket', 's3'],
    ['s3:http://localhost:9000/bucket/path', 's3'],
    ['s3:localhost/bucket', 's3'],
    ['sftp:backup@backup-server.com:/backups/app', 'sftp'],
    ['sftp:backup-server:backups', 'sftp'],
    ['sftp:[::1]:/backups', 'sftp'],
    ['sftp://backup@host:2222//backups', 'sftp'],
    ['rest:https://user@host:8000/app/', 'rest'],
    ['rclone:remote:path/to', 'rclone'],
  ]
  for (const [text, kind] of right) {
    test(`"${text}" is understood`, () => assert.deepEqual(parseLocation(text), { kind, text }))
  }

  test('"local:" is left away', () => {
    assert.deepEqual(parseLocation('local:/var/backups'), { kind: 'local', text: '/var/backups' })
  })

  const wrong: [string, string][] = [
    [
      's3://your-company-backups/devrel',
      '"s3://your-company-backups/devrel" names a bucket but no server, write s3:https://s3.REGION.amazonaws.com/your-company-backups/devrel',
    ],
    [
      's3:https://s3.amazonaws.com',
      '"s3:https://s3.amazonaws.com" names no bucket, expected s3:https://HOST/BUCKET/PATH',
    ],
    [
      'sftp:backup@host',
      '"sftp:backup@host" names no server and folder, expected sftp:USER@HOST:/PATH or sftp://USER@HOST:PORT//PATH',
    ],
    ['rest:host/app', '"rest:host/app" names no server, expected rest:https://HOST/PATH'],
    ['rclone:remote', '"rclone:remote" names no remote, expected rclone:REMOTE:PATH as "rclone listremotes" names it'],
    [
      'b2:bucket:path',
      '"b2:bucket:path" is not a location that is known here, Backblaze B2 speaks S3: write s3:https://s3.REGION.backblazeb2.com/BUCKET/PATH',
    ],
    ['stfp:backup@host:/x', '"stfp:backup@host:/x" begins with "stfp:", which is not known, did you mean "sftp:"?'],
    [
      'foobar:x',
      '"foobar:x" begins with "foobar:", which is not known, expected a folder, s3:https://HOST/BUCKET/PATH, sftp:USER@HOST:/PATH, rest:https://HOST/PATH or rclone:REMOTE:PATH',
    ],
  ]
  for (const [text, problem] of wrong) {
    test(`"${text}" is refused with what would be right`, () => assert.deepEqual(parseLocation(text), { problem }))
  }

  test('a password in a location is refused without being repeated', () => {
    assert.deepEqual(parseLocation('rest:https://user:hunter2@host/'), {
      problem:
        'the location holds a password, which does not belong in this file: put it in RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD',
    })
    assert.deepEqual(parseLocation('sftp://user:hunter2@host//backups'), {
      problem:
        'the location holds a password, which does not belong in this file: leave it to the credentials of the server',
    })
  })
})
