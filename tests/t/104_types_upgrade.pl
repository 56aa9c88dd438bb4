# pg_upgrade from PostgreSQL 15 to the version under test: encrypted columns, their indexes, keys and explicit ciphertext
# columns come over as they are, and everything reads, searches, writes and dumps afterwards.

use strict;
use warnings FATAL => 'all';

use Cwd qw(realpath);
use PgEncrypt::Canary;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The run for 15 is the one that has nothing to upgrade to; every later one upgrades from 15.
plan skip_all => 'upgrades are tested from 15 to a later version' if ($ENV{PG_ENCRYPT_TEST_MAJOR} // 15) == 15;
my $old_installation = $ENV{PG_ENCRYPT_OLD_PREFIX} // '';
plan skip_all => 'the extension is not installed for PostgreSQL 15: scripts/install-private 15'
  unless -x "$old_installation/bin/pg_ctl";
# bin may be a link to where the programs are; the installation is found from them.
my $old_bindir = realpath("$old_installation/bin");
my ($new_bindir) = PostgreSQL::Test::Utils::run_command([ 'pg_config', '--bindir' ]);

my $canary = canary('plaintext');
my $work   = $PostgreSQL::Test::Utils::tmp_check . '/types_upgrade';
mkdir $work or die "$work: $!";

# new_node creates the extension of the cluster's own version; here both begin without it.
my $old = PostgreSQL::Test::Cluster->new('old', install_path => realpath("$old_bindir/..") );
# The same locale and encoding on both sides, which different builds would not choose by themselves.
my @initdb = ('--encoding=UTF8', '--no-locale');
$old->init(extra => \@initdb);
my $new = PostgreSQL::Test::Cluster->new('new');
# 18 turns checksums on unless told otherwise.
my $major = $ENV{PG_ENCRYPT_TEST_MAJOR};
$new->init(extra => [ @initdb, ($major >= 18 ? '--no-data-checksums' : ()) ]);
write_root_key($old);
$_->append_conf('postgresql.conf', "pg_encrypt.root_key = 'file:" . root_key_path($old) . "'") for $old, $new;

$old->start;
append_to_file("$work/users.txt", join '', map { "$_\t$canary $_\t1990-01-01\t{$canary $_}\t$canary\n" } 1 .. 200);
$old->safe_psql('postgres', qq{
	create role regress_reader login;
	create extension pg_encrypt;
	select encrypt.create_key('default');
	select encrypt.create_key('pii');
	select encrypt.grant_key('pii', 'regress_reader', 'encrypt', 'decrypt', 'search');
	create schema a_app;
	select encrypt.create_type('a_app.email_enc', key => 'pii', searchable => true);
	select encrypt.create_type('birth_enc', 'date', key => 'pii');
	grant usage on schema a_app to regress_reader;
	set search_path = public, a_app;
	create table users (
		id integer primary key, email email_enc check (length(email) < 100), born birth_enc, aliases email_enc[],
		note encrypt.encrypted_text);
	grant select on users to regress_reader;
	create unique index users_email on users (email email_enc_ops);
	create index users_token on users (encrypt.token(email));
	copy users from '$work/users.txt';
	select encrypt.rotate_key('pii');
	create table explicit (id integer, value encrypt.ciphertext, token bytea);
	insert into explicit select id, encrypt.encrypt_column(email::text, 'pii', 'explicit'), encrypt.blind_index(email::text, 'pii')
		from users;
	analyze users;
});
my $state = q{
	set search_path = public, a_app;
	set pg_encrypt.reveal = off;
	create temporary table stored as select u::text as row from users u;
	set pg_encrypt.reveal = on;
	select 'key', k::text from encrypt.keys k
	union all
	select 'grant', g::text from encrypt.key_grants g where grantee = 'regress_reader'::regrole
	union all
	select 'type', t::text from encrypt.types t
	union all
	select 'stored', row from stored
	union all
	select 'read', u::text from users u
	union all
	select 'explicit', (id, value, encrypt.decrypt_column(value, 'explicit'), token)::text from explicit
	order by 1, 2};
my $expected = $old->safe_psql('postgres', $state);
# 15.20 notes a version in every column's options, which no later version accepts; that has nothing to do with the extension,
# and without this a database with any table at all could not be upgraded.
$old->safe_psql($_, q{set allow_system_table_mods = on;
	update pg_attribute set attoptions = null where array_to_string(attoptions, ',') like 'pg_attver=%'})
  for 'postgres', 'template1';
is(scalar(() = $expected =~ /^read\|.*\Q$canary\E/mg), 200, 'there are rows before');
$old->stop;

# pg_upgrade writes to the current directory.
chdir $work or die "$work: $!";
$new->command_ok(
	[ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old_bindir, '-B', $new_bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'upgraded');
$new->start;
is($new->safe_psql('postgres', 'show server_version_num') =~ s/....$//r, $major, 'the new version runs');
my $upgraded = $new->safe_psql('postgres', $state);
ok($upgraded eq $expected, 'keys, grants, types and values are the same') or diag(substr $upgraded, 0, 1000);

my $path   = 'set search_path = public, a_app';
my $search = "select id from users where email = '$canary 42'";
like($new->safe_psql('postgres', "$path; set enable_seqscan = off; $search; explain (costs off) $search"),
	qr/^42\n.*Index Scan using users_email/, 'the index finds');
like($new->safe_psql('postgres', "$path; set enable_seqscan = off; explain (costs off) select id from users where email = any ('{a,b}'::text[])"),
	qr/using users_email|on users_email/, 'for arrays too');
is($new->safe_psql('postgres', "$path; $search and born < date '2000-01-01'", extra_params => [ '-U', 'regress_reader' ]),
	42, 'the reader reads');
is($new->safe_psql('postgres', q{select count(*) from explicit
		where token = any (encrypt.blind_index_all(encrypt.decrypt_column(value, 'explicit'), 'pii'))}), 200, 'explicit columns are searched');
fails_with($new, "$path; insert into users (id, email) values (1000, '$canary 7')", '23505', 'the unique index holds');
is($new->safe_psql('postgres', "$path; set pg_encrypt.reveal = on; insert into users (id, email, born) values (1000, 'new', '2000-02-29')
		on conflict (email) do nothing returning email, born"), 'new|2000-02-29', 'new values go in');
$new->safe_psql('postgres', "$path; reindex table users; vacuum analyze users; select encrypt.create_type('later_enc', 'int', key => 'pii')");
is($new->safe_psql('postgres', "$path; $search"), 42, 'after reindexing too');

$new->command_ok([ 'pg_dump', '-f', "$work/dump", 'postgres' ], 'it is dumped');
lacks_canaries("$work/dump", { plaintext => $canary }, 'without plaintext');
$new->safe_psql('postgres', 'create database restored template template0');
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', 'restored', '-f', "$work/dump" ], 'and restored');
is($new->safe_psql('restored', "$path; $search"), 42, 'and searched there');
$new->stop;
done_testing();
