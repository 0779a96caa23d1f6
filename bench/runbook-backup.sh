#!/bin/bash
# The nightly script of the hand-made procedure that Holdfast replaces, step by step as operators have it: archives by
# tar and gzip, the database by sqlite3, the secrets by gpg, then its own verification and its own 30 days.
#
# Only where it looks and what day it is come from outside; and it copies nothing off-site, for a benchmark has no network.
set -euo pipefail

BACKUP_DATE=${BENCH_DATE:?}
BACKUP_TIMESTAMP=${BENCH_DATE}_020000
BACKUP_ROOT=${BENCH_BACKUP_ROOT:?}
BACKUP_DIR="${BACKUP_ROOT}/${BACKUP_DATE}"
APP_DIR=${BENCH_APP_DIR:?}
LOG_FILE=${BENCH_LOG_FILE:?}
GPG_RECIPIENT=${BENCH_GPG_RECIPIENT:?}

log() {
    echo "[$(date '+%Y-%m-%d %H:%M:%S')] $*" | tee -a "${LOG_FILE}"
}

error_exit() {
    log "ERROR: $1"
    exit 1
}

log "=========================================="
log "Starting automated backup"
log "=========================================="

mkdir -p "${BACKUP_DIR}" || error_exit "Failed to create backup directory"
log "Backup directory: ${BACKUP_DIR}"

# 1. Configuration
log "Backing up configuration..."
if [ -d "${APP_DIR}/config" ]; then
    tar -czf "${BACKUP_DIR}/config.tar.gz" -C "${APP_DIR}" config || error_exit "Failed to backup config"
    log "Config backup: $(du -h "${BACKUP_DIR}/config.tar.gz" | cut -f1)"
else
    log "WARNING: Config directory not found, skipping"
fi

# 2. Data: the database by its backup command, and then the whole folder, the live database included
log "Backing up data directory..."
if [ -d "${APP_DIR}/data" ]; then
    if [ -f "${APP_DIR}/data/auth.db" ]; then
        log "Backing up SQLite database with proper locking..."
        sqlite3 "${APP_DIR}/data/auth.db" ".backup '${BACKUP_DIR}/auth.db.backup'" 2>/dev/null || \
            log "WARNING: SQLite backup command failed, using file copy as fallback"
    fi
    tar -czf "${BACKUP_DIR}/data.tar.gz" -C "${APP_DIR}" data || error_exit "Failed to backup data"
    log "Data backup: $(du -h "${BACKUP_DIR}/data.tar.gz" | cut -f1)"
else
    log "WARNING: Data directory not found, skipping"
fi

# 3. Secrets
log "Backing up secrets (encrypted)..."
if [ -d "${APP_DIR}/secrets" ]; then
    if gpg --list-keys "${GPG_RECIPIENT}" &>/dev/null; then
        tar -czf - -C "${APP_DIR}" secrets | \
            gpg --encrypt --armor --recipient "${GPG_RECIPIENT}" \
                --output "${BACKUP_DIR}/secrets.tar.gz.gpg" || error_exit "Failed to backup secrets"
        log "Secrets backup (encrypted): $(du -h "${BACKUP_DIR}/secrets.tar.gz.gpg" | cut -f1)"
    else
        log "ERROR: GPG key not found for ${GPG_RECIPIENT}"
        error_exit "Configure GPG key before running automated backups"
    fi
else
    log "WARNING: Secrets directory not found, skipping"
fi

# 4. to 6. PM2; the corpora have no service unit and no web site
log "Backing up PM2 configuration..."
if [ -f "${APP_DIR}/ecosystem.config.js" ]; then
    cp "${APP_DIR}/ecosystem.config.js" "${BACKUP_DIR}/ecosystem.config.js" || log "WARNING: Failed to backup PM2 config"
else
    log "WARNING: PM2 config not found, skipping"
fi

# 7. Manifest
log "Creating backup manifest..."
cat > "${BACKUP_DIR}/MANIFEST.txt" <<EOF
Backup Manifest
===============

Date: ${BACKUP_TIMESTAMP}
Server: $(hostname)

Backup Contents:
- config.tar.gz: Application configuration
- data.tar.gz: Database and user data
- secrets.tar.gz.gpg: Encrypted secrets (API tokens, credentials)
- ecosystem.config.js: PM2 process manager config

Backup Size: $(du -sh "${BACKUP_DIR}" | cut -f1)
EOF
log "Backup manifest created"

# 8. Verification
log "Verifying backup integrity..."
tar -tzf "${BACKUP_DIR}/config.tar.gz" > /dev/null || error_exit "Config backup is corrupted"
tar -tzf "${BACKUP_DIR}/data.tar.gz" > /dev/null || error_exit "Data backup is corrupted"
gpg --list-packets "${BACKUP_DIR}/secrets.tar.gz.gpg" > /dev/null 2>&1 || error_exit "Secrets backup is corrupted"
log "Backup integrity verified"

# 10. and 11. Retention, and what is used
log "Applying retention policy (30 days)..."
find "${BACKUP_ROOT}" -type d -name "20*" -mtime +30 -exec rm -rf {} \; 2>/dev/null || true
log "Old backups cleaned up"

TOTAL_SIZE=$(du -sh "${BACKUP_ROOT}" | cut -f1)
log "Total backup storage used: ${TOTAL_SIZE}"

log "=========================================="
log "Automated backup completed successfully"
log "=========================================="
