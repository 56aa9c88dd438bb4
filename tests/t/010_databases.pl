# One server, several databases: keys belong to the database. And the life of the extension itself: who may create it,
# beside what, again after it was dropped, and what the library does where it is not created.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('databases');

sub decrypt
{
	my ($value) = @_;
	return "select encrypt.decrypt_column('$value')";
}

$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table t as select encrypt.encrypt_column('plaintext') as value, encrypt.blind_index('plaintext') as token;
	create database second;
});
my $value = $node->safe_psql('postgres', 'select value from t');
my $token = $node->safe_psql('postgres', 'select token from t');

# Keys are not shared, though both are wrapped by one root key.
fails_with($node, 'select encrypt.key_id(null)', '3F000', 'a database without the extension has nothing of it',
	dbname => 'second');
$node->safe_psql('second', q{create extension pg_encrypt; select encrypt.create_key('default')});
is($node->safe_psql('second', 'select count(*) from encrypt.keys'), 2, 'another database has keys of its own');
my $said = fails_with($node, decrypt($value), '42704', 'a value of one database is not readable in another', dbname => 'second');
like($said, qr/HINT:  The value comes from another database/, 'and the hint says so');
isnt($node->safe_psql('second', q{select encrypt.blind_index('plaintext')}), $token, 'tokens differ');
is($node->safe_psql('second', q{select encrypt.decrypt_column(encrypt.encrypt_column('x'))}), 'x', 'each works by itself');

# A copy of a database is one: same keys, and from then on apart.
$node->safe_psql('postgres', 'create database copy template postgres');
is($node->safe_psql('copy', 'select encrypt.decrypt_column(value) from t'), 'plaintext', 'a copied database is readable');
is($node->safe_psql('copy', q{select encrypt.blind_index('plaintext')}), $token, 'and searchable');
$node->safe_psql('copy', q{select encrypt.rotate_key('default')});
is($node->safe_psql('postgres', 'select count(*) from encrypt.keys'), 2, 'rotating there changes nothing here');
my $newer = $node->safe_psql('copy', q{select encrypt.encrypt_column('newer')});
fails_with($node, decrypt($newer), '42704', 'newer values of the copy are its own');
$node->safe_psql('postgres', 'alter database copy rename to renamed');
is($node->safe_psql('renamed', 'select encrypt.decrypt_column(value) from t'), 'plaintext', 'readable after renaming');

# Dropped and created again, in one session that holds keys.
my $session = session($node, dbname => 'renamed');
is($session->query_safe('select encrypt.decrypt_column(value) from t'), 'plaintext', 'a session holds keys');
is((session_error($session, 'drop extension pg_encrypt'))[0], '2BP01', 'not dropped while columns use it');
$session->query_safe('alter table t alter value type bytea using value::bytea; drop extension pg_encrypt');
is($session->query_safe(q{select count(*) from pg_namespace where nspname = 'encrypt'}), 0, 'nothing is left of it');
$session->query_safe('create extension pg_encrypt');
is((session_error($session, 'select encrypt.decrypt_column(value::encrypt.ciphertext) from t'))[0], '42704',
	'keys of before are forgotten');
$session->query_safe(q{select encrypt.create_key('default')});
is($session->query_safe(q{select encrypt.decrypt_column(encrypt.encrypt_column('again'))}), 'again', 'new keys work');
is((session_error($session, 'select encrypt.decrypt_column(value::encrypt.ciphertext) from t'))[0], '42704',
	'and are not those of before');
for my $round (1 .. 12)
{
	$session->query_safe(q{drop extension pg_encrypt; create extension pg_encrypt; select encrypt.create_key('default')});
	is($session->query_safe("select encrypt.decrypt_column(encrypt.encrypt_column('round $round'))"), "round $round",
		"created again: $round");
}
# In one transaction that is rolled back, all is as before.
my $kept = $session->query_safe(q{select encrypt.encrypt_column('kept')});
$session->query_safe(qq{
	begin;
	drop extension pg_encrypt;
	create extension pg_encrypt;
	do \$\$ begin perform encrypt.create_key('default'); end \$\$;
	rollback});
is($session->query_safe(decrypt($kept)), 'kept', 'readable after that was rolled back');
$session->quit;

# Not for everybody, and not into what is there.
$node->safe_psql('postgres', q{
	create role regress_owner login;
	create database owned owner regress_owner;
	create database trapped;
});
fails_with($node, 'create extension pg_encrypt', '42501', 'not created by an ordinary role',
	dbname => 'owned', extra_params => [ '-U', 'regress_owner' ]);
is($node->safe_psql('owned', q{select count(*) from pg_extension where extname = 'pg_encrypt'}), 0, 'and nothing is left');
$node->safe_psql('trapped', q{
	create schema encrypt;
	create function encrypt.decrypt_column(bytea) returns text language sql as 'select null::text';
});
$said = fails_with($node, 'create extension pg_encrypt', '42P06', 'not created into a schema that is there', dbname => 'trapped');
like($said, qr/schema "encrypt" already exists/, 'and says so');
is($node->safe_psql('trapped', q{select count(*) from pg_proc p where pronamespace = 'encrypt'::regnamespace}), 1,
	'which is left alone');
fails_with($node, 'create extension pg_encrypt', '42710', 'not created twice');
$node->safe_psql('owned', 'create extension pg_encrypt cascade');
is($node->safe_psql('owned', q{select has_schema_privilege('regress_owner', 'encrypt', 'usage')}), 't', 'usable by others');
fails_with($node, 'create schema s; alter extension pg_encrypt set schema s', '0A000', 'not moved', dbname => 'owned');

# The library alone does nothing.
is($node->safe_psql('template1', q{load 'pg_encrypt'; select 1}), 1, 'loaded without the extension');
is($node->safe_psql('postgres', q{load 'pg_encrypt'; select encrypt.decrypt_column(value) from t}),
	'plaintext', 'loaded by hand');
fails_with($node, q{load 'pg_encrypt'; set pg_encrypt.no_such_setting = 1}, '42602', 'misspelt settings are errors');
$node->stop;
done_testing();
