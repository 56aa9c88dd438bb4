# A dump in the middle of migrations: what it does not carry is made good in the restored database. The triggers of the counterparts'
# foreign keys are disabled again as the keys are restored, also by several jobs at once, if these restore the data first, as the
# documentation says; and the next step takes the migration over.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $work = $PostgreSQL::Test::Utils::tmp_check . '/migration_dump';
mkdir $work or die "$work: $!";

my $node = new_node('main');
$node->safe_psql('postgres', q{select encrypt.create_key('k')});
# One that is being copied, one that is verified, one that is cut over; their dropped columns are not in a dump, so all are counted anew.
my @phases = qw(dual_writing verified cut_over);
for my $phase (@phases)
{
	$node->safe_psql('postgres', qq{
		create schema $phase;
		create table $phase.team (id integer primary key);
		insert into $phase.team select generate_series(1, 9);
		create table $phase.person (gone text, id integer primary key, email text not null unique, note text default 'n',
			team integer not null references $phase.team on delete cascade, boss integer references $phase.person);
		alter table $phase.person drop column gone;
		create table $phase.letter (id integer primary key, person integer not null references $phase.person on delete cascade);
		insert into $phase.person select i, 'user' || i, 'n', i % 9 + 1, null from generate_series(1, 90) i;
		insert into $phase.letter select i, i from generate_series(1, 90) i;});
	$node->safe_psql('postgres', qq{select encrypt.start_migration('$phase.person', '{email}', 'k', '{email}')});
	my $m = $node->safe_psql('postgres', qq{select migration_id from encrypt.migrations where table_schema = '$phase'});
	next if $phase eq 'dual_writing';
	$node->safe_psql('postgres', "call encrypt.backfill($m)");
	$node->safe_psql('postgres', "call encrypt.verify($m)");
	# What the first transactions of a cutover do, one after the other: keys are made on the counterpart.
	$node->safe_psql('postgres', "select encrypt._prepare_swap($m, clock_timestamp() + '5 s')") for 1 .. 9;
	$node->safe_psql('postgres', "call encrypt.cutover($m)") if $phase eq 'cut_over';
}

my $dump = "$work/dump";
$node->command_ok([ 'pg_dump', '--format=custom', "--file=$dump", $node->connstr('postgres') ], 'dumped in the middle');

# Keys between tables in use have their triggers, those of counterparts don't.
my $switched = q{
	select o.conrelid::regclass, o.confrelid::regclass, string_agg(distinct t.tgenabled::text, '')
	from pg_constraint o join pg_trigger t on t.tgconstraint = o.oid where o.contype = 'f' group by o.oid, 1, 2 order by o.conrelid::regclass::text collate "C", o.confrelid::regclass::text collate "C"};
like($node->safe_psql('postgres', $switched), qr/encrypted\|[^\n]*\|D/, 'there are disabled keys');

for my $jobs (1, 3)
{
	my $db = "restored$jobs";
	$node->safe_psql('postgres', "create database $db");
	for my $sections ($jobs == 1 ? [] : ([ '--section=pre-data', '--section=data' ], ['--section=post-data']))
	{
		$node->command_ok([ 'pg_restore', '--exit-on-error', "--jobs=$jobs", @$sections, '--dbname=' . $node->connstr($db), $dump ],
			"restored by $jobs @$sections");
	}
	is($node->safe_psql($db, $switched), $node->safe_psql('postgres', $switched), 'keys are enforced where they were');
	for my $phase (@phases)
	{
		my ($m, $shadow) = split /\|/, $node->safe_psql($db, qq{
			select migration_id, shadow from encrypt.migrations where table_schema = '$phase' and ended_at is null});
		# The application writes before any step, cascades included; and renames are followed.
		$node->safe_psql($db, qq{
			insert into $phase.person (id, email, team) values (100, 'new', 2), (101, 'newer', 3);
			update $phase.person set email = 'changed' where id = 5;
			delete from $phase.team where id = 1;
			alter table $phase.person rename column note to remark;
			update $phase.person set remark = 'x' where id = 6;});
		my $compared = "select id, email::text, remark, team from";
		is($node->safe_psql($db, qq{
				select count(*) from ($compared $phase.person where id in (5, 6, 100, 101) except $compared $shadow) x})
			. $node->safe_psql($db, "select count(*) from $shadow where team = 1 and id <= 101"), '00', "$phase: dual write goes on")
			if $phase ne 'dual_writing';
		$node->safe_psql($db, "call encrypt.backfill($m)") if $phase eq 'dual_writing';
		$node->safe_psql($db, "call encrypt.verify($m)");
		$node->safe_psql($db, "call encrypt.cutover($m)") if $phase ne 'cut_over';
		$node->safe_psql($db, "alter table $phase.person rename column remark to note");
		$node->safe_psql($db, "insert into $phase.person (id, email, team, note) values (102, 'after', 4, 'after')");
		fails_with($node, "alter table $phase.person disable trigger all", '55000', "$phase: taken over", dbname => $db);
		$node->safe_psql($db, "call encrypt.verify($m)");
		is($node->safe_psql($db, "select verification ->> 'passed' from encrypt.migrations where migration_id = $m"), 'true', "$phase: equal");
		$node->safe_psql($db, "call encrypt.rollback_migration($m)");
		is($node->safe_psql($db, "select count(*), count(*) filter (where email = 'after') from $phase.person"), '83|1', "$phase: and back");
	}
}
done_testing();
