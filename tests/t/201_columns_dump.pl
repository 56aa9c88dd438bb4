# Registered columns after renames, dropped columns and reordering, dumped and restored in every way: the registration is of
# the same column, and a job in the restored database finds and moves the values.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $work = $PostgreSQL::Test::Utils::tmp_check . '/columns_dump';
mkdir $work or die "$work: $!";

my $node = new_node('main');
# Two schemas, as dumps are sorted by name: one before "encrypt" and one after it. The numbers of the columns change with a
# restore, which leaves dropped ones out; the names are not those of the registration.
$node->safe_psql('postgres', q{select encrypt.create_key('pii')});
for my $schema ('a_app', 'zz_app')
{
	$node->safe_psql('postgres', qq{
		create schema $schema;
		create table $schema.t (gone1 integer, id integer, old_name encrypt.ciphertext, gone2 text, bound encrypt.ciphertext,
			token bytea) partition by list (id);
		create table $schema.other (old_name encrypt.ciphertext, id integer, token bytea, bound encrypt.ciphertext);
		select encrypt.register_column('$schema.t', 'old_name', 'token', 'pii');
		select encrypt.register_column('$schema.t', 'bound', key => 'pii', context => 'fixed', row_id_column => 'id');
		alter table $schema.t drop column gone1, drop column gone2;
		alter table $schema.t attach partition $schema.other default;
		alter table $schema.t rename old_name to "New.name";
		alter table $schema.t rename to renamed;
		insert into $schema.renamed (id, "New.name", bound, token)
		select id, encrypt.encrypt_column('value ' || id, 'pii', c.uuid::text),
			encrypt.encrypt_column('bound ' || id, 'pii', 'fixed', id::text),
			encrypt.blind_index('value ' || id, 'pii', c.uuid::text)
		from generate_series(1, 100) as id, encrypt.columns c
		where c.value_column = '$schema.renamed."New.name"'::encrypt.regcolumn;
	});
}
# A reference to a column that is gone, as it stays behind where event triggers don't run, stops no restore.
$node->safe_psql('postgres', q{
	create table lost (e encrypt.ciphertext);
	select encrypt.register_column('lost', 'e', key => 'pii');
	alter event trigger pg_encrypt_dropped_columns disable;
	drop table lost;
	alter event trigger pg_encrypt_dropped_columns enable always;
});
like($node->safe_psql('postgres', 'select value_column from encrypt.columns'), qr/^\d+\.1$/m,
	'a reference to a column that is gone shows its numbers');

my $columns = q{
	select uuid, value_column, index_column, row_id_column, key_name, context, normalizer, bits, created_at, created_by
	from encrypt.columns where value_column::text ~ 'app' order by value_column::text collate "C"};
my $values = join ' union all ', map { qq{
	select '$_', count(*), count(*) filter (where encrypt.decrypt_column("New.name", c.uuid::text) = 'value ' || id
			and encrypt.decrypt_column(bound, 'fixed', id::text) = 'bound ' || id
			and token = any (encrypt.blind_index_all('value ' || id, 'pii', c.uuid::text)))
	from $_.renamed, encrypt.columns c where c.value_column = '$_.renamed."New.name"'::encrypt.regcolumn} } ('a_app', 'zz_app');
my $expected = $node->safe_psql('postgres', $columns);
is(scalar(() = $expected =~ /app\.renamed/g), 8, 'all references are shown by name');
is($node->safe_psql('postgres', $values), "a_app|100|100\nzz_app|100|100", 'the values are what they should be');

sub check
{
	my ($database, $how) = @_;
	is($node->safe_psql($database, $columns), $expected, "$how: the same columns are registered");
	is($node->safe_psql($database, $values), "a_app|100|100\nzz_app|100|100", "$how: the values are read");
	is($node->safe_psql($database, q{
			select encrypt.rotate_key('pii') > 0, encrypt.rotate_key('pii', 'index') > 0;
			select encrypt.start_reencryption('pii') \gset
			select encrypt.start_reindexing('pii') as reindex \gset
			set client_min_messages = warning;
			call encrypt.run_job(:start_reencryption);
			call encrypt.run_job(:reindex);
			select distinct version, sum("values") over () from encrypt.key_usage('pii') where "values" > 0;}),
		"t|t\n2|600", "$how: jobs move values and tokens");
	is($node->safe_psql($database, $values), "a_app|100|100\nzz_app|100|100", "$how: the values are read afterwards");
	return;
}

my %format = (
	plain     => [ [qw(-Fp)], sub { [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $_[0], '-f', $_[1] ] } ],
	custom    => [ [qw(-Fc)], sub { [ 'pg_restore', '-e', '-d', @_ ] } ],
	directory => [ [qw(-Fd -j4)], sub { [ 'pg_restore', '-e', '-j4', '-d', @_ ] } ]);
for my $name (sort keys %format)
{
	my ($options, $restore) = @{ $format{$name} };
	$node->safe_psql('postgres', "create database $name template template0");
	$node->command_ok([ 'pg_dump', @$options, '-f', "$work/$name", 'postgres' ], "$name: dumped");
	$node->command_ok($restore->($name, "$work/$name"), "$name: restored");
	check($name, $name);
}
# Schema and data apart, without any trigger: there is nothing that has to run to keep references right.
$node->safe_psql('postgres', 'create database apart template template0');
$node->command_ok([ 'pg_dump', "--$_-only", '-Fc', '-f', "$work/$_", 'postgres' ], "$_ only: dumped") for qw(schema data);
$node->command_ok([ 'pg_restore', '-e', '-d', 'apart', "$work/schema" ], 'schema only: restored');
$node->command_ok([ 'pg_restore', '-e', '--disable-triggers', '-d', 'apart', "$work/data" ], 'data only: restored');
check('apart', 'apart');
$node->stop;
done_testing();
