# The extension is not dropped together with encrypted data: by PostgreSQL's own dependencies without CASCADE, by an event
# trigger with it, however the statement gets there. A superuser can say that the data may go.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node   = new_node('main');
my $exists = q{select count(*) from pg_extension where extname = 'pg_encrypt'};

sub refused
{
	my ($sql, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $said = fails_with($node, $sql, '2BP01', $test_name);
	is($node->safe_psql('postgres', $exists), 1, "$test_name: still there");
	return $said;
}

# Nothing depends on it: the types and keys that it makes itself go with it, and it comes again.
$node->safe_psql('postgres', $_)
  for 'drop extension pg_encrypt', 'create extension pg_encrypt', q{select encrypt.create_key('default')},
  'drop extension pg_encrypt', 'create extension pg_encrypt', q{select encrypt.create_key('default')},
  'drop extension pg_encrypt cascade', 'create extension pg_encrypt';
is($node->safe_psql('postgres', $exists), 1, 'dropped and created again, with keys and without');

# A type without columns: refused as for any other object, and CASCADE takes it along.
$node->safe_psql('postgres', q{
	select encrypt.create_key('pii');
	select encrypt.create_type('unused_enc', key => 'pii', searchable => true);
	select encrypt.create_type('birth_enc', 'date', key => 'pii');
});
like(refused('drop extension pg_encrypt', 'a type depends on the extension'), qr/type unused_enc/, 'the error names it');
$node->safe_psql('postgres', 'drop extension pg_encrypt cascade');
is($node->safe_psql('postgres', q{select to_regtype('unused_enc') is null}), 't', 'CASCADE drops types that nothing uses');

# Columns in every form.
my @columns = (
	[ 'column of an encrypted type',      'create table users (email email_enc)',             'column email of table public.users' ],
	[ 'column of a built-in type',        'create table users (email encrypt.searchable_text)', 'column email of table public.users' ],
	[ 'column of explicit ciphertext',    'create table users (email encrypt.ciphertext)',    'column email of table public.users' ],
	[ 'array',                            'create table users (emails email_enc[])',          'column emails of table public.users' ],
	[ 'domain without a column',          'create domain short as email_enc',                 'type public.short' ],
	[ 'array of a domain',                'create domain short as email_enc; create table users (s short[])', 'column s of table public.users' ],
	[ 'composite in a column',            'create type person as (email email_enc); create table users (who person)',
		'column who of table public.users' ],
	[ 'row type of another table',        'create table people (email email_enc); create table users (who people[])',
		'column who of table public.users' ],
	[ 'materialized view',                'create materialized view users as select null::email_enc as email',
		'column email of materialized view public.users' ],
	[ 'partitioned table',                'create table users (id integer, email email_enc) partition by list (id)',
		'column email of table public.users' ],
	[ 'column of another schema',         'create schema zz; create table zz.users (email email_enc)', 'column email of table zz.users' ]);
$node->append_conf('postgresql.conf', "client_min_messages = 'error'\n");
$node->reload;
my $number = 0;
for my $case (@columns)
{
	my ($name, $create, $place) = @$case;
	my $database = 'case' . ++$number;
	$node->safe_psql('postgres', "create database $database");
	$node->safe_psql($database, qq{
		create extension pg_encrypt;
		select encrypt.create_key('pii');
		select encrypt.create_type('email_enc', key => 'pii', searchable => true);
		$create;
	});
	fails_with($node, 'drop extension pg_encrypt', '2BP01', "$name: refused", dbname => $database);
	my $said = fails_with($node, 'drop extension pg_encrypt cascade', '2BP01', "$name: refused with CASCADE", dbname => $database);
	like($said, qr/^(?:DETAIL:  )?\Q$place\E$/m, "$name: the error says where");
	$node->safe_psql($database, 'set pg_encrypt.allow_drop = on; drop extension pg_encrypt cascade; create extension pg_encrypt');
	is($node->safe_psql($database, q{select count(*) from pg_attribute where attname in ('email', 'emails') and not attisdropped}), 0,
		"$name: dropped when allowed")
	  if $create =~ /create table users \(emails? /;
}

# Many columns: a few are named, and how many more there are.
$node->safe_psql('postgres', q{
	create extension pg_encrypt;
	select encrypt.create_key('pii');
	select encrypt.create_type('email_enc', key => 'pii', searchable => true);
	create table kept (a email_enc, b email_enc, c email_enc, d email_enc, e email_enc, f email_enc, g email_enc);
	insert into kept (a) values ('stays');
});
my $said = refused('drop extension pg_encrypt cascade', 'many columns');
like($said, qr/column e of table public.kept\nand 2 more\n/, 'many columns: five and the number of others');
like($said, qr/HINT:  .*set pg_encrypt\.allow_drop = on;/, 'the hint says how to do it nevertheless');

# Ways around.
refused('drop extension if exists nothing, pg_encrypt cascade',   'among others');
refused('drop extension plpgsql cascade',                         'with an extension that it requires');
refused(q{do $$begin execute 'drop extension pg_encrypt cascade'; end$$}, 'from a function');
refused('set session_replication_role = replica; drop extension pg_encrypt cascade', 'as a replica');
fails_with($node, 'drop schema encrypt cascade', '2BP01', 'with its schema');

# Owned by a superuser that may be dropped.
$node->safe_psql('postgres', q{create role regress_owner superuser});
$node->safe_psql('postgres', 'create database owned');
$node->safe_psql('owned', q{
	set role regress_owner;
	create extension pg_encrypt;
	select encrypt.create_key('pii');
	create table users (email encrypt.ciphertext);
});
fails_with($node, 'drop owned by regress_owner cascade', '2BP01', 'with everything of its owner', dbname => 'owned');
fails_with($node, 'set role regress_owner; drop owned by session_user, current_user cascade', '2BP01',
	'with everything of the current role', dbname => 'owned');
is($node->safe_psql('owned', $exists), 1, 'with everything of its owner: still there');
$node->safe_psql('owned', 'set pg_encrypt.allow_drop = on; drop owned by regress_owner cascade');
is($node->safe_psql('owned', $exists), 0, 'with everything of its owner: dropped when allowed');
$node->safe_psql('postgres', 'drop database owned; drop role regress_owner');

# Nobody else decides that.
$node->safe_psql('postgres', 'create role regress_user login');
fails_with($node, q{select encrypt.is_ciphertext('x'); set pg_encrypt.allow_drop = on}, '42501', 'only a superuser can allow it', extra_params => [ '-U', 'regress_user' ]);
# Unloaded, the setting is a placeholder, which counts for nothing once the library finds that the role may not set it.
my ($status, $out, $err) = $node->psql('postgres',
	q{set pg_encrypt.allow_drop = on; select encrypt.create_key('other'); show pg_encrypt.allow_drop},
	extra_params => [ '-U', 'regress_user' ]);
unlike($out, qr/^on$/m, 'nor before the library is loaded');

fails_with($node, 'select encrypt._guard_drop()', '39P01', 'the guard is no ordinary function');
is($node->safe_psql('postgres', q{set pg_encrypt.reveal = on; select a from kept}), 'stays', 'all data is there');

# Other extensions and other things are none of its business.
$node->safe_psql('postgres', q{create type other as (a integer); drop type other cascade; drop extension if exists nothing cascade});
$node->safe_psql('postgres', 'drop table kept; drop extension pg_encrypt cascade');
is($node->safe_psql('postgres', $exists), 0, 'without the columns CASCADE is as ever');
$node->stop;
done_testing();
