'use strict'

// usage: node show.js <endpoint> <name> <profiles> <label|-> <key,key,...>
// Reads the configuration as any Node program with cloud-config-client does and prints one JSON line.

const client = require('cloud-config-client')

const [endpoint, name, profiles, label, keys] = process.argv.slice(2)
if (!endpoint || !name || !profiles || !label) {
  console.error('usage: node show.js <endpoint> <name> <profiles> <label|-> <key,key,...>')
  process.exit(2)
}

client.load({ endpoint, name, profiles, label: label === '-' ? undefined : label }).then((config) => {
  const values = {}
  for (const key of (keys || '').split(',').filter(Boolean)) {
    const value = config.get(key)
    values[key] = value === undefined ? null : value
  }
  console.log(JSON.stringify({
    version: config.raw.version,
    profiles: config.raw.profiles,
    label: config.raw.label,
    sources: config.raw.propertySources.map((source) => source.name),
    values
  }))
}).catch((error) => {
  console.error(String(error))
  process.exit(1)
})
