# The disk of the WAL is full, in every step of a migration and in re-encryption: then statements fail or PostgreSQL stops, and starts
# again when there is room. What was committed is there, the step is done or not done, and the same call goes on.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::SmallDisk ('48m');
use PgEncrypt::Test;
use PgEncrypt::Twin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Segments of a megabyte that are not kept for later: each that is begun takes a file. A checkpoint may make the next one in
# advance; so there are none but those asked for.
my $node = new_node('wal_full',
	init => { extra => [ '--waldir=' . small_disk() . '/wal', '--wal-segsize=1' ] },
	conf => "autovacuum = off\njit = off\nmin_wal_size = 2MB\nmax_wal_size = 1GB\ncheckpoint_timeout = 1h\nwal_recycle = off\nwal_writer_delay = 10ms");
make_twin($node);

# How many steps failed for want of room, or took the server along.
my $starved = 0;

# Tries a step while there is no room for another segment. Most steps need one: they fail, or the server goes. What a process has
# open of a segment that is gone takes room until it is closed, so there may be some after all.
sub on_full_disk
{
	my ($name, $step, $reached) = @_;
	$node->safe_psql('postgres', q{
		select pg_switch_wal();
		checkpoint;
		-- All but some kilobytes of the segment.
		select pg_logical_emit_message(false, '', repeat('x', 1048576 - 16384 - ((pg_current_wal_insert_lsn() - '0/0') % 1048576)::integer));
	});
	fill_disk();
	sleep 1;
	fill_disk();
	my ($status) = $node->psql('postgres', "set client_min_messages = error; $step", timeout => 60);
	note("$name: psql ended with $status");
	$starved++ if $status > 0;
	like(write_both($node, 5000), qr/^(gone|53100)$/, "$name: who writes more than there is room for gets an error, or finds the server gone");
	empty_disk();
	$node->stop('immediate', fail_ok => 1);
	$node->start;
	is_twin($node, "after $name had no room");
	is(write_both($node, 20), undef, "$name: with room the application goes on");
	my $now = phase($node);
	# A call that came to its end would be refused now.
	$node->safe_psql('postgres', "set client_min_messages = error; $step") if $now ne $reached;
	is(phase($node), $reached, "$name: the same call goes on, with room");
	is_twin($node, "after $name");
	return;
}

my $id;
for my $turn ('rolled_back', 'finalized')
{
	my $start = q{select encrypt.start_migration('account', '{email, note}', 'k', '{email}')};
	on_full_disk("start, $turn", $start, 'dual_writing');
	$id = migration($node);
	on_full_disk('backfill', qq{call encrypt.backfill($id, '{"batch_rows": 500}')}, 'backfilled');
	on_full_disk('verification', "call encrypt.verify($id)", 'verified');
	on_full_disk('cutover', "call encrypt.cutover($id)", 'cut_over');
	on_full_disk('rollback', "call encrypt.rollback_migration($id)", 'rolled_back') if $turn eq 'rolled_back';
	on_full_disk('finalize', "call encrypt.finalize_migration($id)", 'finalized') if $turn eq 'finalized';
}
is($node->safe_psql('postgres', q{select count(*) from pg_class where relname ~ '_(encrypted|plaintext)'}), '0', 'nothing is left');

# Re-encryption, whose job was committed before.
$node->safe_psql('postgres', q{select encrypt.rotate_key('k'); select encrypt.start_reencryption('k', '{"batch_rows": 500}')});
my $job = $node->safe_psql('postgres', 'select max(job_id) from encrypt.jobs');
on_full_disk('re-encryption', "call encrypt.run_job($job)", 'finalized');
$node->safe_psql('postgres', "set client_min_messages = error; call encrypt.run_job($job)")
  if $node->safe_psql('postgres', "select state from encrypt.jobs where job_id = $job") ne 'finished';
is($node->safe_psql('postgres', q{select count(*) from encrypt.key_usage('k') where "values" > 0 and state <> 'active' and purpose = 'column'}),
	'0', 'no value is under the earlier version');
is_twin($node, 'after re-encryption');
cmp_ok($starved, '>', 0, "$starved of 11 steps found no room");
$node->stop;
done_testing();
