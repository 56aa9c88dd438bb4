# Dumps of every kind carry values, wrapped keys and grants, and nothing that could be read without the root key;
# restored, whatever the names of the application's schemas, everything is as it was.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Canary;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $canary = canary('plaintext');
my $work   = $PostgreSQL::Test::Utils::tmp_check . '/dump';
mkdir $work or die "$work: $!";

my $node    = new_node('main');
my %secrets = (plaintext => $canary, 'root key' => pack('H*', slurp_file(root_key_path($node)) =~ /(\w+)/));

# Two schemas, as dumps are sorted by name: one before "encrypt" and one after it.
$node->safe_psql('postgres', q{
	create role regress_reader;
	create role regress_dropped;
	select encrypt.create_key('default');
	select encrypt.create_key('pii', '30 days', 'personal data');
	select encrypt.grant_key('pii', 'regress_reader', 'decrypt', 'search');
	select encrypt.grant_key('pii', 'regress_dropped', 'decrypt');
	select encrypt.grant_key('default', '-', 'encrypt');
	drop role regress_dropped;
});
for my $schema ('a_app', 'zz_app')
{
	$node->safe_psql('postgres', qq{
		create schema $schema;
		create table $schema.users (
			id integer primary key, email encrypt.ciphertext, email_index bytea, born encrypt.ciphertext,
			code encrypt.ciphertext, check (octet_length(email::bytea) > 40));
		create index on $schema.users (encrypt.key_id(email));
		create view $schema.readable as select id, encrypt.decrypt_column(email, 'users.email') as email from $schema.users;
	});
	# By COPY, so that the plaintext is in no statement and no log.
	append_to_file("$work/$schema.txt", join '', map { "$_\t$canary $_\n" } 1 .. 100);
	$node->safe_psql('postgres', qq{
		create temporary table plain (id integer, email text);
		copy plain from '$work/$schema.txt';
		insert into $schema.users
		select id, encrypt.encrypt_column(email, 'pii', 'users.email'), encrypt.blind_index(email, 'pii', 'users.email'),
			encrypt.encrypt_column(date '2000-02-29' + id), encrypt.encrypt_deterministic(id)
		from plain;
		select encrypt.rotate_key('pii');
		select encrypt.rotate_key('pii', 'index');
	});
}
# A key in each state.
my $first = $node->safe_psql('postgres',
	q{select key_id from encrypt.keys where name = 'pii' and purpose = 'column' and version = 1});

# All there is to know about a database, in one text.
my $state = q{
	select 'key', k::text from encrypt.keys k
	union all
	select 'grant', (key_name, grantee, privilege, granted_by, granted_at)::text from encrypt.key_grants
		where grantee = 0 or grantee in (select oid from pg_roles)
	union all
	select 'user', (s, id, encrypt.decrypt_column(email, 'users.email'), email::text, email_index,
		encrypt.decrypt_as(born, null::date), encrypt.decrypt_as(code, null::integer))::text
		from (select 'a_app' s, u.* from a_app.users u union all select 'zz_app', u.* from zz_app.users u) u
	union all
	select 'found', (select count(*) from a_app.users
		where email_index = any (encrypt.blind_index_all(a.email, 'pii', 'users.email')))::text
		from a_app.readable a
	order by 1, 2};
my $expected = $node->safe_psql('postgres', $state);
is(scalar(() = $expected =~ /^user\|/mg), 200, 'there are 200 rows before');

sub restored
{
	my ($database, $how) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($database, $state), $expected, "$how: keys, grants and values are the same");
	return;
}

sub psql_file
{
	my ($database, $file) = @_;
	return [ 'psql', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--output=/dev/null', "--dbname=$database", "--file=$file" ];
}

# Uncompressed, so that the search for plaintext can find it.
my %format = (
	plain     => [ [qw(-Fp)],        sub { psql_file(@_) } ],
	custom    => [ [qw(-Fc -Z0)],    sub { [ 'pg_restore', '-e', '-d', @_ ] } ],
	single    => [ [qw(-Fc -Z0)],    sub { [ 'pg_restore', '-e', '--single-transaction', '-d', @_ ] } ],
	directory => [ [qw(-Fd -Z0 -j4)], sub { [ 'pg_restore', '-e', '-j4', '-d', @_ ] } ],
	inserts   => [ [qw(-Fp --rows-per-insert=10)], sub { psql_file(@_) } ]);
for my $name (sort keys %format)
{
	my ($options, $restore) = @{ $format{$name} };
	$node->safe_psql('postgres', "create database $name template template0");
	$node->command_ok([ 'pg_dump', @$options, '-f', "$work/$name", 'postgres' ], "$name: dumped");
	lacks_canaries("$work/$name", \%secrets, "$name: no plaintext and no root key in the dump");
	$node->command_ok($restore->($name, "$work/$name"), "$name: restored");
	restored($name, $name);
}
ok(found_in(\slurp_file("$work/a_app.txt"), \%secrets), 'the search does find plaintext where it is');

# Schema and data apart.
$node->safe_psql('postgres', 'create database apart template template0');
$node->command_ok([ 'pg_dump', "--$_-only", '-Fc', '-f', "$work/$_", 'postgres' ], "$_ only: dumped") for qw(schema data);
$node->command_ok([ 'pg_restore', '-e', '-d', 'apart', "$work/schema" ], 'schema only: restored');
is($node->safe_psql('apart', 'select count(*) from encrypt.keys'), 0, 'schema only: no keys');
$node->command_ok([ 'pg_restore', '-e', '-d', 'apart', "$work/data" ], 'data only: restored');
restored('apart', 'schema and data apart');

# A second time into the same database: refused by the keys' own constraints, nothing overwritten.
my ($out, $err);
IPC::Run::run([ 'pg_restore', '-d', $node->connstr('apart'), '-t', 'keys', "$work/data" ], '>', \$out, '2>', \$err);
like($err, qr/duplicate key value violates unique constraint "keys_pkey"/, 'keys that are there are not restored again');
restored('apart', 'after restoring twice');

# A table alone comes without keys: readable where the keys are, and the error says which one is missing elsewhere.
$node->command_ok([ 'pg_dump', '-Fc', '-t', 'zz_app.users', '-f', "$work/table", 'postgres' ], 'one table: dumped');
$node->safe_psql('postgres', 'create database alone template template0');
$node->safe_psql('alone', 'create extension pg_encrypt; create schema zz_app');
$node->command_ok([ 'pg_restore', '-e', '-d', 'alone', "$work/table" ], 'one table: restored without keys');
my $said = fails_with($node, q{select encrypt.decrypt_column(email, 'users.email') from zz_app.users},
	'42704', 'one table: not readable without keys', dbname => 'alone');
like($said, qr/key with id \d+ does not exist/, 'one table: the error names the key');
$node->command_ok([ 'pg_dump', '-Fc', '-a', '-t', 'encrypt.keys', '-t', 'encrypt.key_grants', '-f', "$work/keys", 'postgres' ],
	'keys alone: dumped');
$node->command_ok([ 'pg_restore', '-e', '-d', 'alone', "$work/keys" ], 'keys alone: restored');
is($node->safe_psql('alone', q{select count(encrypt.decrypt_column(email, 'users.email')) from zz_app.users}),
	100, 'one table: readable with keys');

# Whoever may not read wrapped keys can't dump them.
$node->safe_psql('postgres', q{
	create role regress_dumper login;
	grant usage on schema a_app, zz_app to regress_dumper;
	grant select on all tables in schema a_app, zz_app to regress_dumper;
});
$node->command_fails_like([ 'pg_dump', '-U', 'regress_dumper', 'postgres' ],
	qr/permission denied for (table|sequence) \w+|failed to get data for sequence/, 'an ordinary role does not dump keys');

# Another server, with another root key and without the roles.
my $other = new_node('other', extension => 0);
IPC::Run::run([ 'pg_restore', '-d', $other->connstr('postgres'), "$work/custom" ], '>', \$out, '2>', \$err);
like($err, qr/role "regress_reader" does not exist/, 'grants need their roles');
is($other->safe_psql('postgres', 'select count(*) from encrypt.keys'), 8, 'the keys are restored all the same');
is($other->safe_psql('postgres', 'select count(*) from encrypt.key_grants'), 0, 'but no grants');
$said = fails_with($other, 'select * from a_app.readable', '58030', 'nothing is readable without the root key');
like($said, qr/key with id $first is wrapped by root key (\w+), but root key (?!\1)\w+ is configured/,
	'the error says which key and which root key');
write_root_key($other, unpack 'H*', $secrets{'root key'});
$other->safe_psql('postgres', 'create role regress_reader');
$other->command_ok([ 'pg_restore', '-e', '-a', '-t', 'key_grants', '-d', 'postgres', "$work/custom" ], 'grants restored later');
is($other->safe_psql('postgres', $state), $expected, 'with root key and role everything is the same');

$_->stop for $node, $other;
done_testing();
