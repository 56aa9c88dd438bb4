# A dump while migrations are cut over, with ciphertext columns and with a view: the restored database has the view, its
# triggers, dual write and registrations, and goes on from there, back or to the end.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $work = $PostgreSQL::Test::Utils::tmp_check . '/expose_dump';
mkdir $work or die "$work: $!";

my $node = new_node('main');
$node->safe_psql('postgres', q{select encrypt.create_key('k')});
# Schemas before and after "encrypt", by which dumps are sorted.
my %expose = (a_app => 'columns', zz_app => 'view');
for my $schema (sort keys %expose)
{
	$node->safe_psql('postgres', qq{
		create schema $schema;
		create table $schema.person (id bigint generated always as identity primary key, email text unique, note text default 'n');
		insert into $schema.person (email) select 'user' || i from generate_series(1, 100) i;});
	$node->safe_psql('postgres', qq{
		call encrypt.migrate('$schema.person', '{email}', 'k', '{email}', '{"expose": "$expose{$schema}", "metadata": true}')});
}

my $dump = "$work/dump";
$node->command_ok([ 'pg_dump', '--format=custom', "--file=$dump", $node->connstr('postgres') ], 'dumped while cut over');
$node->safe_psql('postgres', 'create database restored');
# Two jobs, so that the order within the dump is not what makes it work.
$node->command_ok([ 'pg_restore', '--exit-on-error', '--jobs=2', '--dbname=' . $node->connstr('restored'), $dump ], 'restored');

my $state = q{
	select m.table_schema, m.phase, m.live, m.shadow, m.exposed, (select array_agg(c::text order by c.column_name) from encrypt.migration_columns c
		where c.migration_id = m.migration_id)
	from encrypt.migrations m order by 1};
is($node->safe_psql('restored', $state), $node->safe_psql('postgres', $state), 'migrations are as they were');
my $registered = 'select value_column, index_column, context from encrypt.columns order by 1';
is($node->safe_psql('restored', $registered), $node->safe_psql('postgres', $registered), 'and so are registered columns');
for my $plan (qw(person_decrypted person))
{
	my $schema = $plan eq 'person' ? 'zz_app' : 'a_app';
	is($node->safe_psql('restored', "select count(*), count(distinct email), min(note) from $schema.$plan"), '100|100|n',
		"$schema.$plan decrypts");
}

# Writes of both kinds reach the plaintext table.
my $context = 'a_app.person.email';
$node->safe_psql('restored', qq{
	insert into a_app.person (email_encrypted, email_index)
	values (encrypt.encrypt_column('new', 'k', '$context'), encrypt.blind_index('new', 'k', '$context', 'exact'));
	insert into zz_app.person (email) values ('new');
	update zz_app.person set email = 'changed' where id = 7;
	delete from zz_app.person where id = 8;});
is($node->safe_psql('restored', q{
		select (select count(*) from a_app.person_plaintext where email = 'new'),
			(select string_agg(email, ',' order by id) from zz_app.person_plaintext where id in (7, 8) or id > 100)}),
	'1|changed,new', 'dual write goes on');
is($node->safe_psql('restored', q{select migration_status, count(*) from zz_app.person_encrypted group by 1 order by 1}),
	"migrated|2\nverified|98", 'the trigger for metadata is there');

my $id = q{select migration_id from encrypt.migrations where table_schema = };
for my $schema (sort keys %expose)
{
	my $migration = $node->safe_psql('restored', "$id '$schema'");
	$node->safe_psql('restored', "call encrypt.verify($migration)");
	is($node->safe_psql('restored', "select verification ->> 'passed' from encrypt.migrations where migration_id = $migration"), 'true',
		"$schema: both tables are equal");
}
my $back = $node->safe_psql('restored', "$id 'zz_app'");
$node->safe_psql('restored', "call encrypt.rollback_migration($back)");
is($node->safe_psql('restored', q{
		select c.relkind, (select count(*) from zz_app.person), (select count(*) from pg_class where relname ~ '^person_(encr|plain)'
			and relnamespace = 'zz_app'::regnamespace) from pg_class c where c.oid = 'zz_app.person'::regclass}),
	'r|100|0', 'the way back');
my $on = $node->safe_psql('restored', "$id 'a_app'");
$node->safe_psql('restored', "call encrypt.finalize_migration($on)");
is($node->safe_psql('restored', q{select count(*), count(email) from a_app.person_decrypted}), '101|101', 'the way on');

# What was finalized has a view that is dumped and restored, too, and its trigger finds its table.
my $original = $node->safe_psql('postgres', "$id 'zz_app'");
$node->safe_psql('postgres', "call encrypt.finalize_migration($original)");
$node->safe_psql('postgres', 'create database finalized');
$node->command_ok([ 'pg_dump', '--format=custom', "--file=$dump.2", $node->connstr('postgres') ], 'dumped when finalized');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--dbname=' . $node->connstr('finalized'), "$dump.2" ], 'restored');
is($node->safe_psql('finalized', q{insert into zz_app.person (email) values ('more') returning email, note}), 'more|n',
	'the view can be written to');
$node->stop;

done_testing();
