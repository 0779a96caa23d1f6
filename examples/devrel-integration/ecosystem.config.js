// PM2 reads this file as CommonJS; the application's own code is in src/, as modules.
module.exports = {
  apps: [
    {
      name: 'devrel-bot',
      script: 'src/server.js',
      cwd: __dirname,
      instances: 1,
      exec_mode: 'fork',
      kill_timeout: 5000,
      max_restarts: 10,
      out_file: 'logs/out.log',
      error_file: 'logs/error.log',
      env: { NODE_ENV: 'development', PORT: 3000 },
      env_production: { NODE_ENV: 'production', PORT: 3000 },
    },
  ],
}
