# The setting pg_encrypt.root_key: what can't be a location is refused when it is set, and one that got into a
# configuration file all the same is an error of its own: never taken for "not set", which would make a new root key.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node     = new_node('setting');
my $good     = 'file:' . root_key_path($node);
# Begins with a letter, as names of variables do.
my $secret   = 'a' . substr(random_hex(32), 1);
my $embedded = $node->data_dir . '/pg_encrypt_root.key';
my $show     = q{select current_setting('pg_encrypt.root_key', true)};
my $read     = 'select encrypt.decrypt_column(value) from t';

$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table t as select encrypt.encrypt_column('plaintext') as value;
	create role regress_user login;
	create database empty;
});

for my $location (
	'nowhere', 'file:root.key', 'file://host/root.key', 'command:print-key', q{command:/bin/cat "x}, 'env:1X',
	'passphrase-file:x', "env:$secret", $secret)
{
	my ($sqlstate, $said) = sql_error($node, "load 'pg_encrypt'; alter system set pg_encrypt.root_key = '$location'");
	(my $shown = $location) =~ s/$secret/KEY/;
	is($sqlstate, '22023', "refused: $shown");
	unlike($said, qr/$secret/, "and not repeated: $shown");
}
is($node->safe_psql('postgres', $show), $good, 'the setting has not changed');

fails_with($node, "load 'pg_encrypt'; set pg_encrypt.root_key = 'env:X'", '55P02', 'not to be set in a session');
fails_with($node, "load 'pg_encrypt'; alter role regress_user set pg_encrypt.root_key = 'env:X'",
	'55P02', 'not to be set for a role');
fails_with($node, "select encrypt.key_id(null); $show", '42501', 'not to be read by an ordinary role',
	extra_params => [ '-U', 'regress_user' ]);

# A file that was edited by hand. Sessions that are open keep what they have; new ones must not fall back to a default.
my $open = session($node);
is($open->query_safe($read), 'plaintext', 'an open session can read');
$node->append_conf('postgresql.conf', "pg_encrypt.root_key = '$secret'");
$node->reload;
$node->poll_query_until('postgres', $show, $secret) or die 'the setting was not reloaded';
is($open->query_safe($read), 'plaintext', 'an open session can still read');
my $said = fails_with($node, $read, '22023', 'a new session can not');
like($said, qr/root key's location begins with/, 'and says why');
unlike($said, qr/$secret/, 'without repeating the setting');
fails_with($node, "select encrypt.create_key('another')", '22023', 'no key is made');
fails_with($node, q{create extension pg_encrypt; select encrypt.create_key('first')}, '22023',
	'no first key is made in another database either', dbname => 'empty');
ok(!-e $embedded, 'no root key was made in the data directory');

# Parallel workers take over the session's settings, invalid or not, while the rest of the statement is no business
# of the extension's.
is($node->safe_psql('postgres', q{
		load 'pg_encrypt';
		create table numbers as select i from generate_series(1, 1000) i;
		set parallel_setup_cost = 0;
		set parallel_tuple_cost = 0;
		set min_parallel_table_scan_size = 0;
		select count(*) from numbers}), 1000, 'parallel queries go on');

$node->restart;
fails_with($node, $read, '22023', 'nothing else after a restart');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', 'pg_encrypt');
$node->restart;
fails_with($node, $read, '22023', 'nor with the library preloaded');
ok(!-e $embedded, 'and still no root key was made');
$node->adjust_conf('postgresql.conf', 'pg_encrypt.root_key', "'$good'");
$node->restart;
is($node->safe_psql('postgres', $read), 'plaintext', 'readable with the right setting');
$open->quit;
$node->stop;
done_testing();
