# The disk of the database's files is full, in every step of a migration and in re-encryption. What was committed is there, the
# step says why it did not succeed, the application's statements fail by themselves, and when there is room the step goes on and
# everything is equal.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::SmallDisk ('96m');
use PgEncrypt::Test;
use PgEncrypt::Twin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db   = 'small';
my $node = new_node('disk_full', extension => 0, conf => "restart_after_crash = on\nautovacuum = off\njit = off");
mkdir small_disk() . '/tablespace' or die;
# Its catalogs too: that is what DDL writes.
$node->safe_psql('postgres', "create tablespace small location '" . small_disk() . "/tablespace'");
$node->safe_psql('postgres', "create database $db tablespace small");
$node->safe_psql($db, 'create extension pg_encrypt');
make_twin($node, dbname => $db);

sub query
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# Catalogs without room between their rows, so that what is added to them needs a block.
sub pack_catalogs
{
	query("vacuum full $_") for qw(pg_class pg_attribute pg_type pg_depend pg_trigger pg_constraint pg_rewrite pg_description
	  encrypt.migrations encrypt.jobs encrypt.job_tasks encrypt.job_chunks encrypt.migration_relations);
	return;
}

# Steps that change the catalogs only may find room in the last blocks of those, and succeed.
my $starved = 0;

# Tries a step while the disk is full. Afterwards there is room again.
sub on_full_disk
{
	my ($name, $sql, %expected) = @_;
	my $before = phase($node, dbname => $db);
	pack_catalogs();
	fill_disk($expected{leave} // 0);
	my ($sqlstate, $said) = sql_error($node, $sql, dbname => $db);
	like($sqlstate // 'succeeded', $expected{ends} // qr/^53100$/, "$name on a full disk") or diag($said);
	note("$name: ", $sqlstate // 'succeeded');
	$starved++ if defined $sqlstate;
	is(query('show server_version_num') > 0, 1, "$name: the server goes on");
	# Unless the step made room.
	is(write_both($node, 500, dbname => $db), '53100', "$name: a statement that has no room fails by itself") if defined $sqlstate;
	is_twin($node, "while $name has no room", dbname => $db);
	is(phase($node, dbname => $db), $before, "$name: the phase is that of before") if defined $sqlstate && !$expected{moves};
	empty_disk();
	is(write_both($node, 20, dbname => $db), undef, "$name: with room the application goes on");
	is_twin($node, "after $name had no room", dbname => $db);
	return $said;
}

on_full_disk('start', q{select encrypt.start_migration('account', '{email, note}', 'k', '{email}')});
is(query(q{select count(*) from encrypt.migrations}), '0', 'nothing is left of the start');
query(q{select encrypt.start_migration('account', '{email, note}', 'k', '{email}')});

# A backfill that has copied something when the disk is full, in this session.
my $id     = migration($node, dbname => $db);
my $run    = qq{call encrypt.backfill($id, '{"batch_rows": 500, "max_attempts": 2}')};
my $said   = on_full_disk('backfill', $run, leave => 1_500_000, ends => qr/^(55000|53100)$/, moves => 1);
is(phase($node, dbname => $db), 'backfilling', 'the backfill has not ended');
my $why = query("select state, last_error from encrypt.job_progress where kind = 'backfill' and subject = '$id'");
like($why, qr/^failed\|.*(53100|No space left)/, 'the job failed and says why');
like(query("select last_error from encrypt.migration_progress where migration_id = $id"), qr/53100|No space left/, 'the migration says it too');
cmp_ok(query('select count(*) from account_encrypted'), '>', 500, 'some rows had been copied');

# The same by background workers.
my $job = query("select max(job_id) from encrypt.jobs where kind = 'backfill'");
fill_disk(200_000);
query("select encrypt.resume_job($job); select encrypt.start_workers($job, 2)");
$node->poll_query_until($db, "select state = 'failed' from encrypt.jobs where job_id = $job") or die 'the job does not end';
like(query("select last_error from encrypt.jobs where job_id = $job"), qr/53100|No space left/, 'workers leave the reason, too');
is_twin($node, 'while workers have no room', dbname => $db);
empty_disk();
query("select encrypt.resume_job($job)");
query("call encrypt.run_job($job)");
is(phase($node, dbname => $db), 'backfilled', 'with room the backfill goes on and ends');
is_twin($node, 'after the backfill', dbname => $db);

# Dual write alone: the table has room in its own blocks, its counterpart has none.
query('delete from account where id between 3000 and 4000; delete from twin where id between 3000 and 4000; vacuum account');
fill_disk(8192 * 2);
my $refused = 0;
for my $attempt (1 .. 5)
{
	my $sqlstate = write_both($node, 40, dbname => $db);
	$refused++ if defined $sqlstate;
	is($sqlstate // '53100', '53100', 'a write succeeds, or fails for want of room');
}
cmp_ok($refused, '>', 0, "$refused of 5 writes were refused");
is_twin($node, 'while dual write has no room', dbname => $db);
empty_disk();
is(write_both($node, 40, dbname => $db), undef, 'dual write goes on');
is_twin($node, 'after dual write had no room', dbname => $db);

# Comparing needs room for what it writes down only.
on_full_disk('verification', "call encrypt.verify($id)", ends => qr/^(succeeded|53100|55000)$/, moves => 1);
query("call encrypt.verify($id)");
is(phase($node, dbname => $db), 'verified', 'with room the verification ends');
on_full_disk('cutover', "call encrypt.cutover($id)", ends => qr/^(succeeded|53100)$/);
query("call encrypt.cutover($id)") if phase($node, dbname => $db) eq 'verified';
is(phase($node, dbname => $db), 'cut_over', 'with room it is cut over');
is_twin($node, 'after cutover', dbname => $db);
on_full_disk('rollback', "call encrypt.rollback_migration($id)", ends => qr/^(succeeded|53100)$/);
query("call encrypt.rollback_migration($id)") if phase($node, dbname => $db) eq 'cut_over';
is(phase($node, dbname => $db), 'rolled_back', 'with room it is rolled back');
is_twin($node, 'after the rollback', dbname => $db);
is(query(q{select count(*) from pg_class where relname ~ '_(encrypted|plaintext)'}), '0', 'nothing is left of it');

query(q{call encrypt.migrate('account', '{email, note}', 'k', '{email}')});
is(phase($node, dbname => $db), 'cut_over', 'there again');
$id = migration($node, dbname => $db);

# The end frees room: it need not fail.
on_full_disk('finalize', "call encrypt.finalize_migration($id)", ends => qr/^(succeeded|53100)$/);
query("call encrypt.finalize_migration($id)") if phase($node, dbname => $db) eq 'cut_over';
is(phase($node, dbname => $db), 'finalized', 'it has ended');
is_twin($node, 'after the end', dbname => $db);

# Re-encryption writes every row anew.
query(q{select encrypt.rotate_key('k'); select encrypt.start_reencryption('k', '{"max_attempts": 2, "batch_rows": 500}')});
$job = query('select max(job_id) from encrypt.jobs');
on_full_disk('re-encryption', "call encrypt.run_job($job)", leave => 500_000, ends => qr/^(55000|53100)$/, moves => 1);
like(query("select state, last_error from encrypt.jobs where job_id = $job"), qr/^failed\|.*(53100|No space left)/,
	'the job failed and says why');
query("select encrypt.resume_job($job)");
query("call encrypt.run_job($job)");
is(query("select state from encrypt.jobs where job_id = $job"), 'finished', 'with room it goes on and ends');
is(query(q{select count(*) from encrypt.key_usage('k') where "values" > 0 and state <> 'active' and purpose = 'column'}), '0',
	'no value is under the earlier version');
is_twin($node, 'after re-encryption', dbname => $db);
cmp_ok($starved, '>=', 4, "$starved of 7 steps found no room");
$node->stop;
done_testing();
