// node-postgres: parameters of no declared type, text results, and binary results.

import pg from 'pg';

// -- types
// Columns over text need nothing with text results. Over other types: results are strings unless the type is made known,
// and binary results are Buffers of the base type's binary form.
async function knowTypes(client) {
  const { rows } = await client.query(
    "select oid, typname from pg_type where typname in ('email_enc', 'note_enc', 'bigint_enc')");
  for (const { oid, typname } of rows) {
    if (typname === 'bigint_enc') {
      client.setTypeParser(oid, 'text', pg.types.getTypeParser(pg.types.builtins.INT8, 'text'));
      client.setTypeParser(oid, 'binary', pg.types.getTypeParser(pg.types.builtins.INT8, 'binary'));
    } else {
      client.setTypeParser(oid, 'binary', (value) => value.toString());
    }
  }
}
// -- end

const client = new pg.Client({
  host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER, database: process.env.PGDATABASE,
});
await client.connect();
const print = (...what) => console.log(JSON.stringify(what));

// -- text
const upsert = `insert into users (email, note) values ($1, $2)
                on conflict (email) do update set note = excluded.note`;
await client.query(upsert, ['bob@example.org', 'first']);
await client.query(upsert, ['bob@example.org', 'second']);
const found = await client.query('select email, note from users where email = $1', ['bob@example.org']);
// -- end
print(found.rows);

for (let n = 0; n < 10; n++) {
  await client.query({
    name: 'insert', text: 'insert into users (email, note, visits) values ($1, $2, $3)',
    values: [`user${n}@example.org`, `note ${n % 3}`, n % 4],
  });
}
for (let n = 0; n < 8; n++) {
  const { rows } = await client.query({
    name: 'search', text: 'select id, email from users where email = $1', values: [`user${n}@example.org`] });
  print(rows);
}
const many = ['user1@example.org', 'user2@example.org', 'nobody'];
print((await client.query('select email from users where email = any($1) order by email', [many])).rows);
print((await client.query('select note, count(*) from users group by note order by note')).rows);

await knowTypes(client);
for (const binary of [false, true]) {
  const { rows } = await client.query({
    text: 'select email, note, visits from users where visits = $1 order by email', values: [1], binary });
  print(rows.map((row) => ({ ...row, visits: String(row.visits) })));
}
try {
  await client.query('insert into users (email) values ($1)', ['bob@example.org']);
} catch (error) {
  print(error.code, error.constraint);
}
await client.end();
