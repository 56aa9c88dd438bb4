# Point-in-time recovery to moments of a migration, amidst backfill and cutover among them, and a standby that is promoted in the
# middle of a backfill: the table is whole, all old or all new, and the same call goes on.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Recovery;
use PgEncrypt::Session;
use PgEncrypt::Test;
use PgEncrypt::Twin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => { has_archiving => 1, allows_streaming => 1 }, conf => "jit = off\nautovacuum = off");
make_twin($primary);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $migrate = q{call encrypt.migrate('account', '{email, note}', 'k', '{email}')};
my @points;

sub point
{
	my ($name, $phase) = @_;
	is(write_both($primary, 20), undef, "$name: written to");
	restore_point($primary, $name);
	push @points, [ $name, $phase, recovery_target_name => $name ];
	return;
}

# A step of some transactions; points at parts of what it writes.
sub step
{
	my ($name, $phases, $statement, @parts) = @_;
	my $before = wal_position($primary);
	$primary->safe_psql('postgres', "set client_min_messages = error; $statement");
	my $after = wal_position($primary);
	for my $part (@parts)
	{
		push @points, [ "amidst $name", $phases, recovery_target_lsn =>
			  $primary->safe_psql('postgres', "select '$before'::pg_lsn + (('$after'::pg_lsn - '$before'::pg_lsn) * $part)") ];
	}
	return;
}

$primary->safe_psql('postgres', q{select encrypt.start_migration('account', '{email, note}', 'k', '{email}')});
point('dual write', qr/^dual_writing$/);
my $id = migration($primary);
# Deletions while rows are copied are noted, and worked off at the end.
my $session = session($primary);
$session->query_safe('set client_min_messages = error');
session_start($session, qq{call encrypt.backfill($id, '{"batch_rows": 300, "pause_between": "50ms"}')});
$primary->poll_query_until('postgres', 'select count(*) > 1500 from account_encrypted') or die 'no backfill';
point('half of the backfill', qr/^backfilling$/);
push @points, [ 'amidst a batch', qr/^backfilling$/, recovery_target_lsn => wal_position($primary) ];
is($primary->safe_psql('postgres', 'select count(*) > 0 from account_encrypted_deleted'), 't', 'some rows were deleted meanwhile');

# The standby becomes a primary here; its copy of the job has no worker and waits for one.
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->promote;
is(phase($standby), 'backfilling', 'promoted in the middle of the backfill');
is_twin($standby, 'on the promoted standby');
is(write_both($standby, 20), undef, 'it takes writes');
$standby->safe_psql('postgres', "update encrypt.jobs set pause_between = '0'; set client_min_messages = error; $migrate");
is(phase($standby), 'cut_over', 'the migration goes on there');
is(write_both($standby, 20), undef, 'it takes writes after cutover');
is_twin($standby, 'after cutover on the promoted standby');
$standby->stop('immediate');

$session->query_safe('select 1');
is(phase($primary), 'backfilled', 'on the primary the backfill has ended');
point('backfilled', qr/^backfilled$/);
step('verification', qr/^(backfilled|verified)$/, "call encrypt.verify($id)", 0.5);
step('cutover', qr/^(verified|cut_over)$/, "call encrypt.cutover($id)", 0.3, 0.6, 0.9);
point('cut over', qr/^cut_over$/);
step('rollback', qr/^(cut_over|verified|rolled_back)$/, "call encrypt.rollback_migration($id)", 0.3, 0.6, 0.9);
$primary->safe_psql('postgres', "set client_min_messages = error; $migrate");
step('finalize', qr/^(cut_over|finalized)$/, 'call encrypt.finalize_migration(' . migration($primary) . ')', 0.5);
archive_all($primary);
$session->quit;
$primary->stop('immediate');

my %phases;
for my $point (@points)
{
	my ($name, $wanted, $setting, $value) = @$point;
	my $node  = recovered($primary, $setting, $value);
	my $phase = phase($node);
	like($phase, $wanted, "$name: recovered, $phase");
	$phases{$phase}++;
	my $encrypted = $phase =~ /^(cut_over|finalized)$/ ? 't' : 'f';
	is($node->safe_psql('postgres', q{
			select a.atttypid <> 'text'::regtype,
				(select v.atttypid from pg_attribute v where v.attrelid = 'emails'::regclass and v.attname = 'email') = a.atttypid,
				(select indrelid from pg_index where indexrelid = 'account_email_key'::regclass) = a.attrelid
			from pg_attribute a where a.attrelid = 'account'::regclass and a.attname = 'email'}),
		"$encrypted|t|t", "$name: all " . ($encrypted eq 't' ? 'new' : 'old'));
	is_twin($node, $name);
	is(write_both($node, 20), undef, "$name: it takes writes");
	if ($phase ne 'finalized')
	{
		$node->safe_psql('postgres', "update encrypt.jobs set pause_between = '0' where ended_at is null;
			set client_min_messages = error; $migrate");
		is(phase($node), 'cut_over', "$name: the migration goes on");
		is(write_both($node, 20), undef, "$name: it takes writes after cutover");
		is_twin($node, "$name: after cutover");
		$node->safe_psql('postgres', 'set client_min_messages = error; call encrypt.rollback_migration(' . migration($node) . ')');
	}
	is_twin($node, "$name: at the end");
	is($node->safe_psql('postgres', q{select count(*) from pg_class where relname ~ '_(encrypted|plaintext)'}), '0', "$name: nothing is left");
	$node->stop('immediate');
}
cmp_ok(scalar keys %phases, '>=', 5, 'recovered to phases ' . join ', ', sort keys %phases);
done_testing();
